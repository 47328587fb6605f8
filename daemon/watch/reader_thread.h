// ReaderThread empties one kernel event queue and does nothing else, so that the queue never
// overflows because of us. Between two readings it pauses a little (the kernel merges records
// meanwhile, and reading many at once costs a quarter), unless somebody waits or the queue is long.
// It looks at the mount table as well, for an unmount raises no event.
//
// Made, started and stopped by its watcher; wait_until_read(), stall() from any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "common/result.h"
#include "common/unique_fd.h"

namespace backup {

// Called on the reader's thread only.
class EventQueue {
  public:
    virtual ~EventQueue() = default;
    // What to poll; may be another one after each call below. -1: the queue is dead.
    virtual int descriptor() const = 0;
    // Reads at least everything that was queued when it was called. Returns how long to pause.
    virtual std::chrono::milliseconds read_queue() = 0;
    virtual void mounts_changed() = 0;
    // Nothing is read any more: what happens from now on is lost, and that must be told.
    virtual void give_up(std::string_view reason) = 0;
};

class ReaderThread {
  public:
    static constexpr std::chrono::milliseconds kPause{40};
    static constexpr std::chrono::seconds kPatience{10};

    explicit ReaderThread(EventQueue& queue) : queue_(queue) {}
    ~ReaderThread() { stop(); }
    ReaderThread(const ReaderThread&) = delete;
    ReaderThread& operator=(const ReaderThread&) = delete;

    Result<> start(const std::string& name);
    void stop();
    // Until the queue was read once after this call.
    Result<> wait_until_read();
    // The same without waiting. A queue that is dead is noticed, too.
    void ask();
    void stall(bool stalled);

  private:
    void run();
    void wake();
    void finish();

    EventQueue& queue_;
    UniqueFd wake_, mounts_;
    std::mutex mutex_;
    std::condition_variable done_changed_;
    std::uint64_t asked_ = 0, done_ = 0;
    bool is_stopping_ = false, is_stalled_ = false, is_dead_ = false;
    std::thread thread_;
};

}  // namespace backup
