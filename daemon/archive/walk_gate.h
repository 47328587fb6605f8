// WalkGate lets somebody look at directories under way while no worker alters them. Workers are
// inside while they add nodes or join trees, and step aside between two names when somebody asks;
// who asks waits until all have. Nobody may enter twice. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace backup {

class WalkGate {
  public:
    void enter() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !is_asked_; });
        ++inside_;
    }
    void leave() {
        {
            std::lock_guard lock(mutex_);
            --inside_;
        }
        changed_.notify_all();
    }
    // For a worker that is inside: lets one through who asks.
    void step_aside() {
        if (!is_asked_.load(std::memory_order_relaxed)) return;
        leave();
        enter();
    }

    class Inside {
      public:
        explicit Inside(WalkGate& gate) : gate_(gate) { gate_.enter(); }
        ~Inside() { gate_.leave(); }
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;

      private:
        WalkGate& gate_;
    };
    // As long as it lives no worker is inside. One at a time.
    class Closed {
      public:
        explicit Closed(WalkGate& gate) : gate_(gate) {
            std::unique_lock lock(gate_.mutex_);
            gate_.is_asked_ = true;
            gate_.changed_.wait(lock, [&] { return gate_.inside_ == 0; });
        }
        ~Closed() {
            {
                std::lock_guard lock(gate_.mutex_);
                gate_.is_asked_ = false;
            }
            gate_.changed_.notify_all();
        }
        Closed(const Closed&) = delete;
        Closed& operator=(const Closed&) = delete;

      private:
        WalkGate& gate_;
    };

  private:
    std::mutex mutex_;  // guards inside_, and changes of is_asked_
    std::condition_variable changed_;
    std::atomic<bool> is_asked_{false};
    unsigned inside_ = 0;
};

}  // namespace backup
