#include "daemon/jobs/job.h"

#include <algorithm>

namespace backup {

JobOutcome failed(Error error) {
    JobOutcome outcome;
    outcome.error = std::move(error);
    return outcome;
}

const char* to_string(JobState state) {
    switch (state) {
        case JobState::queued:
            return "queued";
        case JobState::waiting:
            return "waiting";
        case JobState::running:
            return "running";
        case JobState::paused:
            return "paused";
        case JobState::cancelling:
            return "cancelling";
        case JobState::done:
            return "done";
    }
    return "done";
}

double Job::seconds() const {
    if (!record_.end) return 0;
    return std::chrono::duration<double>(*record_.end - record_.begin).count();
}

bool Job::sample(Timestamp now, MonotonicTime at, Duration stall_after) {
    bool has_stalled = false;
    const auto moved = std::make_tuple(progress_->phase.load(), progress_->bytes_done.load(),
                                       progress_->items_done.load(), progress_->exceptions.load());
    if (!moved_at_ || moved != moved_) {
        moved_ = moved;
        moved_at_ = at;
        moved_time_ = now;
        stalled_since_.reset();
    } else if (!stalled_since_ && at - *moved_at_ >= stall_after) {
        stalled_since_ = moved_time_;
        has_stalled = true;
    }
    std::uint64_t bytes = progress_->bytes_done.load(std::memory_order_relaxed);
    std::uint64_t total = progress_->bytes_total.load(std::memory_order_relaxed);
    if (last_sample_) {
        double elapsed = std::chrono::duration<double>(at - *last_sample_).count();
        if (elapsed <= 0) return has_stalled;
        double rate = bytes >= last_bytes_ ? static_cast<double>(bytes - last_bytes_) / elapsed : 0;
        // About ten seconds of memory: a stall shows soon, one big file does not shake the guess.
        double weight = std::min(1.0, elapsed / 10.0);
        rate_ = rate_ == 0 ? rate : rate_ + weight * (rate - rate_);
    }
    last_sample_ = at;
    last_bytes_ = bytes;
    expected_end_.reset();
    if (total > bytes && rate_ >= 1) {
        double left = static_cast<double>(total - bytes) / rate_;
        // Whole seconds, so that a steady job does not change its mind twice a second.
        if (left < 365.0 * 86400)
            expected_end_ = now + std::chrono::seconds(static_cast<long>(left));
    }
    return has_stalled;
}

}  // namespace backup
