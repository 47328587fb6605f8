// BoundedQueue<T> hands values from producers to consumers; its bound is in bytes, so that peak
// memory can be worked out on paper. Thread-safe. push() blocks while the queue is full, pop()
// while it is empty; both wake on close() and on the stop request. One item larger than the bound
// is let through alone.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace backup {

template <typename T>
class BoundedQueue {
  public:
    explicit BoundedQueue(std::size_t most_bytes) : most_bytes_(most_bytes) {}

    // False when the queue was closed or a stop was asked for; the value is dropped then.
    bool push(T value, std::size_t bytes, std::stop_token stop) {
        std::unique_lock lock(mutex_);
        bool room = changed_.wait(
            lock, stop, [&] { return closed_ || items_.empty() || bytes_ + bytes <= most_bytes_; });
        if (!room || closed_) return false;
        bytes_ += bytes;
        items_.emplace_back(std::move(value), bytes);
        lock.unlock();
        changed_.notify_all();
        return true;
    }

    // Nothing when the queue is closed and drained, or a stop was asked for.
    std::optional<T> pop(std::stop_token stop) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait(lock, stop, [&] { return closed_ || !items_.empty(); }) ||
            items_.empty())
            return std::nullopt;
        auto [value, bytes] = std::move(items_.front());
        items_.pop_front();
        bytes_ -= bytes;
        lock.unlock();
        changed_.notify_all();
        return std::optional<T>(std::move(value));
    }

    // No more values: consumers drain what is there, producers give up.
    void close() {
        {
            std::lock_guard lock(mutex_);
            closed_ = true;
        }
        changed_.notify_all();
    }

  private:
    const std::size_t most_bytes_;
    std::mutex mutex_;  // guards all below
    std::condition_variable_any changed_;
    std::deque<std::pair<T, std::size_t>> items_;
    std::size_t bytes_ = 0;
    bool closed_ = false;
};

}  // namespace backup
