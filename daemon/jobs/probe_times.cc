#include "daemon/jobs/probe_times.h"

#include <algorithm>

namespace backup {

namespace {
constexpr Duration kFirstPause = std::chrono::seconds(2);
constexpr Duration kLongestPause = std::chrono::minutes(1);
}  // namespace

bool ProbeTimes::is_due(const std::string& repository, MonotonicTime now) const {
    auto found = failures_.find(repository);
    return found == failures_.end() || found->second.next <= now;
}

MonotonicTime ProbeTimes::next(const std::string& repository) const {
    auto found = failures_.find(repository);
    return found == failures_.end() ? MonotonicTime::max() : found->second.next;
}

void ProbeTimes::begin(const std::string& repository, MonotonicTime now) {
    Failure& failure = failures_[repository];
    failure.next = now + std::max(failure.pause, kFirstPause);
}

bool ProbeTimes::failed(const std::string& repository, const std::string& message,
                        MonotonicTime now) {
    Failure& failure = failures_[repository];
    failure.pause = failure.pause == Duration::zero()
                        ? kFirstPause
                        : std::min<Duration>(failure.pause * 2, kLongestPause);
    failure.next = now + failure.pause;
    if (failure.message == message) return false;
    failure.message = message;
    return true;
}

}  // namespace backup
