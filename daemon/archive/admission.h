// Admission says what of a run's changes the hard limits of its set let in. Decided before anything
// is read, by measuring the source (measure.h); held to by the walk that reads.
//
// In the last revision means safe: it stays, and what is there now under its name takes its place
// if it fits. Else the revision keeps the old content, and it is listed. What is new comes after
// that, in the order of the walk: the names of a directory by their bytes, then what is in its
// subdirectories, one after the other. A file that does not fit is left out, smaller ones behind it
// may fit; when no item fits any more all that comes behind is left out. A limit that is below what
// the last revision has stops growth and nothing else: as much as goes may come.
//
// Made by one thread, then thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/policy/set_limits.h"
#include "daemon/runtime/progress.h"

namespace backup {

// Of a source, against the parent revision.
struct Measured {
    // In both. Bytes of files as the parent has them, and as they are now.
    std::uint64_t kept_items = 0, kept_bytes_before = 0, kept_bytes_now = 0;
    std::uint64_t changed_files = 0, changed_bytes = 0;  // of those, what they are now
    std::uint64_t new_items = 0, new_files = 0, new_bytes = 0;
    // Files beyond the limit of one file; new ones are not among `new_`.
    std::uint64_t too_large_files = 0, too_large_bytes = 0;  // hard
    std::uint64_t large_files = 0;                           // soft
    std::uint64_t parent_items = 0, parent_bytes = 0;        // all that the parent revision has

    std::uint64_t items() const { return kept_items + new_items; }
    std::uint64_t bytes() const { return kept_bytes_now + new_bytes; }
    std::uint64_t churn() const { return changed_bytes + new_bytes; }
};

// What the limits made of a run.
struct LimitReport {
    std::vector<std::string> hit;  // names of the hard limits that left something out
    std::uint64_t left_out_items = 0, left_out_bytes = 0;
    std::uint64_t kept_old = 0;  // files that the revision has with their former content
    std::uint64_t listed = 0;    // of all these, one by one in the exceptions
    std::uint64_t large_files = 0;
    std::uint64_t churn_bytes = 0;  // new and changed, as far as they were let in
    // Where more was left out than is listed one by one: to be listed again by the next run.
    std::vector<std::string> directories;
    bool is_anywhere = false;  // in too many to name them
};

class Admission {
  public:
    static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::size_t kMostNamed = 10'000;  // single files that are left out
    static constexpr std::size_t kMostListed = 1'000;  // of them in the exceptions
    static constexpr std::size_t kMostDirectories = 1'000;

    // `churn_before`: bytes that count for this day already; nothing: churn is not limited (a first
    // revision is no change). `exceptions`: told what is left out; nullptr: nobody is.
    Admission(const Limits& limits, const Measured& measured,
              std::optional<std::uint64_t> churn_before, ExceptionLog* exceptions);

    // All that was measured fits, but for files beyond the limit of one file.
    bool fits() const { return fits_; }

    // The second measuring, in the order of the walk: who comes first is served.
    void plan_new(const std::string& path, bool is_file, std::uint64_t size);
    // Comes in whatever the limits say: a path of the set, or what took the name of what was safe.
    void plan_fixed(std::uint64_t size);
    void plan_too_large(const std::string& path);
    void plan_change(const std::string& path, std::uint64_t size_before, std::uint64_t size);
    // Nothing new that comes from here on fits.
    bool is_closed() const { return cut_new_.has_value(); }

    // By the walk that reads. False: it is left out (listed) or keeps its old content.
    bool admits_new(const std::string& path, bool is_file, std::uint64_t size);
    void came_anyway(std::uint64_t size);  // see plan_fixed()
    bool admits_change(const std::string& path, std::uint64_t size_before, std::uint64_t size);

    LimitReport report() const;
    // What was planned to be left out; `all`: it and all that comes behind it.
    void tell_plan(const std::function<void(const std::string& path, const char* limit, bool all)>&
                       each) const;

  private:
    struct Budget {
        std::uint64_t items = kNoLimit, bytes = kNoLimit, churn = kNoLimit;
    };
    const char* over_for_file(std::uint64_t size, std::uint64_t size_before) const;
    void refuse(const std::string& path, const char* limit, bool is_change);
    void list(const std::string& path, const char* limit, bool is_change);

    const Limits limits_;
    const Measured measured_;
    ExceptionLog* const exceptions_;
    bool fits_ = true;
    Budget new_, changed_;
    std::uint64_t taken_items_ = 0, taken_bytes_ = 0, taken_churn_ = 0;  // by the plan
    // The plan.
    std::unordered_map<std::string, const char*> refused_;  // by path: the limit
    std::optional<std::string> cut_new_, cut_changed_;      // all from here on
    const char* cut_new_limit_ = nullptr;
    const char* cut_changed_limit_ = nullptr;
    // What the reading walk may still take, should the source have grown since.
    std::atomic<std::uint64_t> items_left_{kNoLimit}, bytes_left_{kNoLimit};

    mutable std::mutex mutex_;  // guards what follows
    std::set<std::string> hit_;
    std::uint64_t listed_ = 0, late_items_ = 0, late_bytes_ = 0, kept_old_ = 0;
    std::set<std::string> directories_;
    bool is_anywhere_ = false;
};

// The order of the walk: a directory's names before what is in its subdirectories. Absolute paths.
bool comes_before(std::string_view a, std::string_view b);

}  // namespace backup
