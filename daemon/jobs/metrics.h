// Metrics counts what jobs did since the daemon began, and writes it down as Prometheus text
// (format 0.0.4) together with what is so now. Families of backups, restores, collections and
// verifications are apart: an error of one changes no series of another. Loop thread only; pure.
#pragma once

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

  private:
    struct Family {
        std::map<std::pair<std::string, std::string>, std::uint64_t> jobs;  // (object, outcome)
        std::map<std::string, double> seconds;
        std::map<std::pair<std::string, std::string>, std::uint64_t> sums;  // (metric, object)
        std::map<std::pair<std::string, std::string>, std::uint64_t> last;
    };
    Family backup_, restore_, gc_, verify_;
    double first_byte_sum_ = 0, first_byte_last_ = 0;
    std::uint64_t first_byte_count_ = 0;
};

}  // namespace backup
