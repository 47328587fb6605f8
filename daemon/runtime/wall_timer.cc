#include "daemon/runtime/wall_timer.h"

#include <algorithm>
#include <cstdint>

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

namespace backup {

WallTimer::WallTimer(Loop& loop, std::function<void()> callback) : callback_(std::move(callback)) {
    UniqueFd fd(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (fd) {
        auto watched = loop.watch(fd.get(), FdWatch::readable, [this](int) {
            std::uint64_t times = 0;
            // ECANCELED: the clock was set. Whoever waits for a time must look at it anew.
            if (::read(fd_.get(), &times, sizeof times) < 0 && errno == EAGAIN) return;
            callback_();
        });
        if (watched.ok()) {
            fd_ = std::move(fd);
            watch_ = std::move(*watched);
            return;
        }
    }
    instead_ = loop.timer([this] { callback_(); });
}

void WallTimer::start(Duration delay) {
    if (!fd_) return instead_.start(delay);
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    constexpr std::int64_t kSecond = 1'000'000'000;
    const std::int64_t rest =
        now.tv_nsec + std::max<std::int64_t>(delay.count(), 1'000'000);  // 0 would switch it off
    itimerspec when{};
    when.it_value.tv_sec = now.tv_sec + rest / kSecond;
    when.it_value.tv_nsec = rest % kSecond;
    ::timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, nullptr);
}

}  // namespace backup
