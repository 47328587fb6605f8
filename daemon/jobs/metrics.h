// Metrics counts what jobs did since the daemon began, and writes it down as Prometheus text
// (format 0.0.4) together with what is so now. Families of backups, restores, drills, collections
// and verifications are apart: an error of one changes no series of another. Loop thread only;
// pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "daemon/jobs/health.h"
#include "daemon/jobs/job.h"
#include "daemon/schedule/reason.h"

namespace backup {

// What is so now, of sets and repositories.
struct SetNumbers {
    std::string id;
    SetRecord record;
    std::uint32_t revisions = 0;
    std::uint64_t pending = 0, pending_bytes = 0, gaps = 0;
    std::optional<Timestamp> protected_until, deferred_since;
    std::optional<Timestamp> oldest_change;  // that no run has tried; nothing: there is none
    std::vector<Reason> waits;
    bool is_live = false, is_running = false;
};
struct RepositoryNumbers {
    std::string name;
    RepositoryFacts facts;
};
struct Numbers {
    Timestamp now{};
    std::string version;
    Health health = Health::unknown;
    bool is_paused = false, config_is_good = true;
    std::uint64_t bytes_up = 0, bytes_down = 0;
    std::vector<SetNumbers> sets;
    std::vector<RepositoryNumbers> repositories;
};

class Metrics {
  public:
    // A job that has ended, and how long after its begin it had the first byte.
    void job_ended(const JobRecord& record, std::optional<Duration> first_byte);
    std::string text(const Numbers& now) const;
    // The counters of all sets together, for programs that do not read Prometheus text: "jobs",
    // "complete" ... "failed", "bytes", "duration-usec" and the like.
    using Sums = std::vector<std::pair<std::string, std::uint64_t>>;
    Sums backups() const;
    Sums restores() const;

  private:
    struct Family {
        std::map<std::pair<std::string, std::string>, std::uint64_t> jobs;  // (object, outcome)
        std::map<std::string, double> seconds;
        std::map<std::pair<std::string, std::string>, std::uint64_t> sums;  // (metric, object)
        std::map<std::pair<std::string, std::string>, std::uint64_t> last;
    };
    // Of seconds; see kBounds.
    struct Histogram {
        std::array<std::uint64_t, 8> buckets{};  // not cumulative; the last: above all bounds
        double sum = 0, last = 0;
        std::uint64_t count = 0;
        void add(double seconds);
    };
    static Sums sums_of(const Family& family);

    Family backup_, restore_, drill_, gc_, verify_;
    Histogram first_byte_, duration_;  // of restores
    double rate_last_ = 0;             // bytes a second, of the last restore that gave back any
};

}  // namespace backup
