// Precedence lets some work go before other work of this process: while anybody holds it, those who
// give way wait. Restores hold it, backups give way. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace backup {

class Precedence {
  public:
    // Holds it as long as it lives.
    class Holder {
      public:
        explicit Holder(Precedence* of) : of_(of) {
            if (of_ != nullptr) of_->add(1);
        }
        ~Holder() {
            if (of_ != nullptr) of_->add(-1);
        }
        Holder(const Holder&) = delete;
        Holder& operator=(const Holder&) = delete;

      private:
        Precedence* const of_;
    };

    bool is_held() const { return holders_.load(std::memory_order_relaxed) != 0; }
    // Returns when nobody holds it, or a stop is asked for. Costs one load when nobody does.
    void give_way(const std::stop_token& stop) {
        if (!is_held()) return;
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [this] { return !is_held(); });
    }

  private:
    void add(int count) {
        {
            std::lock_guard lock(mutex_);
            holders_.fetch_add(count, std::memory_order_relaxed);
        }
        changed_.notify_all();
    }

    std::atomic<int> holders_{0};
    std::mutex mutex_;  // guards changes of holders_
    std::condition_variable_any changed_;
};

}  // namespace backup
