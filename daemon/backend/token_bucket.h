// TokenBucket keeps a stream of bytes at a rate. Pure: it is told the time; not thread-safe.
//
// Bytes may go as soon as there is any credit at all, and a piece larger than the credit leaves a
// debt. So the mean is the rate whatever the pieces are, and after a pause no more than kBurst of
// it is made up for.
#pragma once

#include <cstdint>

#include "common/clock.h"

namespace backup {

class TokenBucket {
  public:
    static constexpr Duration kBurst = std::chrono::milliseconds(100);

    // Bytes a second; 0: no limit. Credit and debt are carried over as time, not as bytes.
    void set_rate(std::uint64_t rate, MonotonicTime now);
    std::uint64_t rate() const { return rate_; }
    // How long until something may go; zero: now.
    Duration wait(MonotonicTime now) const;
    void take(std::uint64_t bytes, MonotonicTime now);

  private:
    std::uint64_t rate_ = 0;
    MonotonicTime free_at_{};  // when the debt is paid; in the past: credit
};

}  // namespace backup
