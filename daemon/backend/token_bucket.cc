#include "daemon/backend/token_bucket.h"

#include <algorithm>

namespace backup {

namespace {

// Nobody waits longer for bytes that went before the rate was lowered.
constexpr Duration kMostDebt = std::chrono::seconds(1);

}  // namespace

void TokenBucket::set_rate(std::uint64_t rate, MonotonicTime now) {
    if (rate == rate_) return;
    rate_ = rate;
    free_at_ = std::min(free_at_, now + kMostDebt);
}

Duration TokenBucket::wait(MonotonicTime now) const {
    if (rate_ == 0) return Duration::zero();
    return std::max(free_at_ - now, Duration::zero());
}

void TokenBucket::take(std::uint64_t bytes, MonotonicTime now) {
    if (rate_ == 0) return;
    const double seconds = static_cast<double>(bytes) / static_cast<double>(rate_);
    constexpr double kLongest = 1e6;
    free_at_ = std::max(free_at_, now - kBurst) +
               std::chrono::duration_cast<Duration>(
                   std::chrono::duration<double>(std::min(seconds, kLongest)));
}

}  // namespace backup
