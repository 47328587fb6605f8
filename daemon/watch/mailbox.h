// Mailbox is the place between a reader thread, which fills a Collector, and whoever takes batches.
// Thread-safe. The nudge is called by the filling thread, once until somebody takes, and never with
// the lock held.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "daemon/watch/collector.h"

namespace backup {

class Mailbox {
  public:
    Mailbox(std::function<void()> nudge, std::size_t most_names)
        : nudge_(std::move(nudge)), most_names_(most_names), collector_(most_names) {}

    // Runs `fill(Collector&)` under the lock.
    template <typename Fill>
    void fill(Fill&& fill) {
        bool nudge = false;
        {
            const std::lock_guard lock(mutex_);
            fill(collector_);
            nudge = !is_nudged_ && !collector_.empty();
            is_nudged_ = is_nudged_ || nudge;
        }
        if (nudge && nudge_) nudge_();
    }
    WatchBatch take() {
        Collector taken(most_names_);
        {
            const std::lock_guard lock(mutex_);
            collector_.swap(taken);
            is_nudged_ = false;
        }
        return taken.take();
    }

  private:
    const std::function<void()> nudge_;
    const std::size_t most_names_;
    std::mutex mutex_;
    Collector collector_;
    bool is_nudged_ = false;
};

}  // namespace backup
