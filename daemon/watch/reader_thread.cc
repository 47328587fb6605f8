#include "daemon/watch/reader_thread.h"

#include <array>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "common/failpoint.h"

namespace backup {

Result<> ReaderThread::start(const std::string& name) {
    wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) return Error::from_errno(errno, "make an eventfd");
    // Without /proc an unmount shows later, when nothing can be found any more.
    mounts_.reset(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
    // Signals belong to the loop.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Result<> started;
    try {
        thread_ = std::thread([this] { run(); });
        pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
    } catch (const std::system_error& error) {
        started = Error(ErrorKind::io, std::string("start a thread: ") + error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

void ReaderThread::stop() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    wake();
    thread_.join();
}

void ReaderThread::wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] auto written = write(wake_.get(), &one, sizeof(one));
}

void ReaderThread::stall(bool stalled) {
    {
        const std::lock_guard lock(mutex_);
        is_stalled_ = stalled;
    }
    wake();
}

void ReaderThread::ask() {
    {
        const std::lock_guard lock(mutex_);
        ++asked_;
    }
    wake();
}

Result<> ReaderThread::wait_until_read() {
    std::unique_lock lock(mutex_);
    const std::uint64_t mine = ++asked_;
    wake();
    const bool in_time = done_changed_.wait_for(
        lock, kPatience, [&] { return done_ >= mine || is_dead_ || is_stopping_; });
    if (!in_time) return Error(ErrorKind::transient, "the event reader did not answer in time");
    if (done_ < mine && !is_dead_) return Error(ErrorKind::cancelled, "the event reader stops");
    return {};
}

void ReaderThread::finish() {
    const std::lock_guard lock(mutex_);
    is_dead_ = true;
    done_changed_.notify_all();
}

void ReaderThread::run() {
    using Clock = std::chrono::steady_clock;
    using std::chrono::milliseconds;
    auto next_read = Clock::now();
    while (queue_.descriptor() >= 0) {
        bool is_asked = false, is_stalled = false;
        {
            const std::lock_guard lock(mutex_);
            if (is_stopping_) break;
            is_asked = asked_ > done_;
            is_stalled = is_stalled_;
        }
        const auto pause = std::chrono::ceil<milliseconds>(next_read - Clock::now());
        const bool is_pausing = pause.count() > 0 && !is_asked;
        const bool is_reading = !is_stalled && !is_pausing;
        std::array<pollfd, 3> watched{{{wake_.get(), POLLIN, 0},
                                       {mounts_.get(), POLLPRI, 0},
                                       {queue_.descriptor(), POLLIN, 0}}};
        int timeout = -1;
        if (!is_stalled && is_pausing) timeout = static_cast<int>(pause.count());
        if (is_reading && is_asked) timeout = 0;
        int ready = poll(watched.data(), is_reading ? 3 : 2, timeout);
        if (failpoint("events.poll")) ready = -1, errno = ENOMEM;
        if (ready < 0 && errno != EINTR) {
            queue_.give_up(Error::from_errno(errno, "wait for events").message());
            break;
        }
        if (ready > 0 && watched[0].revents != 0) {
            std::uint64_t count = 0;
            [[maybe_unused]] auto got = read(wake_.get(), &count, sizeof(count));
        }
        // POLLERR comes along with every change.
        if (ready > 0 && (watched[1].revents & (POLLPRI | POLLERR)) != 0) queue_.mounts_changed();
        if (queue_.descriptor() < 0) break;
        if (!is_reading || (watched[2].revents == 0 && !is_asked)) continue;
        std::uint64_t asked = 0;
        {
            const std::lock_guard lock(mutex_);
            asked = asked_;
        }
        (void)failpoint("events.read");  // a reader that stands still
        next_read = Clock::now() + queue_.read_queue();
        const std::lock_guard lock(mutex_);
        done_ = asked;
        done_changed_.notify_all();
    }
    finish();
}

}  // namespace backup
