// Loop is the one thread that owns the daemon's state: a libuv loop with timers, descriptor
// watches, signals, and post(), which brings results home from other threads. Everything but post()
// and stop() belongs to the thread that runs the loop. The handles below stop and free themselves
// when destroyed, also from within their own callback, and must not outlive the Loop. Callbacks
// must not throw.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace backup {

class Loop;

// One libuv handle with its callback. Move only. Empty after being moved from.
class LoopHandle {
  public:
    struct State;

    LoopHandle();
    explicit LoopHandle(State* state);
    LoopHandle(LoopHandle&& other) noexcept;
    LoopHandle& operator=(LoopHandle&& other) noexcept;
    ~LoopHandle();

    // Stops for good; nothing is called afterwards.
    void reset();
    explicit operator bool() const { return state_ != nullptr; }

  protected:
    State* state_ = nullptr;  // freed by libuv's close callback
};

// Calls once or repeatedly. Rounds up to milliseconds; libuv's clock is monotonic and stands still
// during suspend.
class Timer : public LoopHandle {
  public:
    using LoopHandle::LoopHandle;
    void start(Duration delay, Duration repeat = Duration::zero());
    void stop();
    bool is_running() const;
};

// Watches a descriptor, which must outlive it.
class FdWatch : public LoopHandle {
  public:
    using LoopHandle::LoopHandle;
    enum Events : int { none = 0, readable = 1, writable = 2, disconnected = 4 };
    void set(int events);
};

class Loop {
  public:
    Loop();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Runs until stop(). What was posted before stop() has run when it returns.
    void run();
    // Any thread.
    void stop();
    // Runs `task` on the loop thread, in the order of posting. Any thread. After run() has returned
    // the task is kept until the next run() or dropped by the destructor, on the loop's thread.
    void post(std::function<void()> task);

    Timer timer(std::function<void()> callback);  // not started
    [[nodiscard]] Timer once(Duration delay, std::function<void()> callback);
    [[nodiscard]] Timer every(Duration period, std::function<void()> callback);
    // `callback` gets a mask of FdWatch::Events; an error of the descriptor is reported as all of
    // those asked for.
    Result<FdWatch> watch(int fd, int events, std::function<void(int events)> callback);
    Result<LoopHandle> on_signal(int number, std::function<void()> callback);
    // Called right before the loop goes to sleep, whatever woke it.
    [[nodiscard]] LoopHandle before_sleep(std::function<void()> callback);

    // For the sleep that libuv computes from its cached time: call before starting a timer in a
    // long turn.
    void update_time();

  private:
    struct Impl;
    void run_posted();

    std::unique_ptr<Impl> impl_;
    std::mutex mutex_;  // guards posted_
    std::vector<std::function<void()>> posted_;
    std::atomic<bool> stopping_{false};
};

}  // namespace backup
