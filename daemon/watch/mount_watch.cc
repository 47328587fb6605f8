#include "daemon/watch/mount_watch.h"

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

namespace backup {

MountWatch::MountWatch(std::function<void()> changed)
    : changed_(std::move(changed)),
      mounts_(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Result<std::unique_ptr<MountWatch>> MountWatch::start(std::function<void()> changed) {
    std::unique_ptr<MountWatch> watch(new MountWatch(std::move(changed)));
    if (!watch->mounts_ || !watch->stop_)
        return Error::from_errno(errno, "watch /proc/self/mountinfo");
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Result<> started;
    try {
        watch->thread_ = std::thread([watch = watch.get()] { watch->run(); });
        pthread_setname_np(watch->thread_.native_handle(), "watch-mounts");
    } catch (const std::system_error& error) {
        started = Error(ErrorKind::io, std::string("start a thread: ") + error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    TRY(std::move(started));
    return watch;
}

MountWatch::~MountWatch() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    [[maybe_unused]] auto written = write(stop_.get(), &one, sizeof(one));
    thread_.join();
}

// The kernel remembers which table this descriptor was last told of: poll() itself takes the news.
void MountWatch::run() const {
    for (;;) {
        std::array<pollfd, 2> watched{{{mounts_.get(), POLLPRI, 0}, {stop_.get(), POLLIN, 0}}};
        if (poll(watched.data(), watched.size(), -1) < 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (watched[1].revents != 0) return;
        if ((watched[0].revents & (POLLPRI | POLLERR)) != 0) changed_();
    }
}

}  // namespace backup
