// Allowance is time that may be taken of something, in the long run no more than a share of all:
// what is taken grows back. Thread-safe.
#pragma once

#include <algorithm>
#include <mutex>

#include "common/clock.h"

namespace backup {

class Allowance {
  public:
    // `most`: what there is at first, and at most. It grows back by one of `part` of the time.
    Allowance(Duration most, int part, MonotonicTime now)
        : most_(most), part_(part), left_(most), seen_(now) {}

    // All of `wanted`, or nothing when there is less.
    bool take(Duration wanted, MonotonicTime now) {
        std::lock_guard lock(mutex_);
        left_ = std::min(most_, left_ + std::chrono::duration_cast<Duration>(now - seen_) / part_);
        seen_ = now;
        if (left_ < wanted) return false;
        left_ -= wanted;
        return true;
    }

  private:
    const Duration most_;
    const int part_;
    std::mutex mutex_;  // guards what follows
    Duration left_;
    MonotonicTime seen_;
};

}  // namespace backup
