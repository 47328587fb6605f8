// Progress is what a running job tells about itself: atomics that the job's threads add to and the
// loop samples twice a second. Exceptions are the single objects that could not be handled; the job
// goes on.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "common/error.h"

namespace backup {

enum class Phase : std::uint8_t {
    starting,
    locking,
    loading,     // index and parent revision
    scanning,    // the amount of work is still unknown
    planning,    // what a restore will touch
    protecting,  // what exists and will be touched, before it is
    reading,     // source to repository
    restoring,   // repository to target
    removing,    // what a restore takes away
    verifying,
    committing,
    finishing,
};
const char* to_string(Phase phase);

struct Progress {
    std::atomic<Phase> phase{Phase::starting};
    std::atomic<std::uint64_t> bytes_done{0};
    std::atomic<std::uint64_t> bytes_total{0};  // 0: unknown
    std::atomic<std::uint64_t> items_done{0};
    std::atomic<std::uint64_t> items_total{0};  // 0: unknown
    std::atomic<std::uint64_t> exceptions{0};
    // Of a restore: when the first content was written, microseconds since the epoch; 0: none yet.
    std::atomic<std::uint64_t> first_byte_usec{0};
};

// One object that could not be handled: which, and why. `path` is bytes, absolute.
struct Exception {
    std::string path;
    Error error;
};

// Collects exceptions of one job. Thread-safe. Keeps the first `most` in full and counts all of
// them.
class ExceptionLog {
  public:
    explicit ExceptionLog(Progress& progress, std::size_t most = 10'000)
        : progress_(progress), most_(most) {}

    void add(std::string path, Error error);
    std::vector<Exception> list() const;
    std::uint64_t count() const { return progress_.exceptions.load(std::memory_order_relaxed); }

  private:
    Progress& progress_;
    const std::size_t most_;
    mutable std::mutex mutex_;  // guards list_
    std::vector<Exception> list_;
};

}  // namespace backup
