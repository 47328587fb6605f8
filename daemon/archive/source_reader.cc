#include "daemon/archive/source_reader.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include <fcntl.h>

namespace backup {

using namespace std::chrono_literals;

namespace {
constexpr Duration kTick = 20ms;      // two ticks of the slowest kernels (100 Hz)
constexpr Duration kCoarse = 1100ms;  // file systems whose times are whole seconds
}  // namespace

void SourceReader::sleep_unless_stopped(Duration time) const {
    // In slices: a request to stop is obeyed within a second whatever a file needs.
    while (time > Duration::zero() && !stop_.stop_requested()) {
        Duration slice = std::min<Duration>(time, 50ms);
        std::this_thread::sleep_for(slice);
        time -= slice;
    }
}

const int SourceReader::kFile = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME;
const int SourceReader::kDirectory = O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_NONBLOCK | O_NOATIME;
const int SourceReader::kDirectoryOrLink = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOATIME;

int SourceReader::open(Place place, int flags, UniqueFd& out) const {
    for (int attempt = 0;; ++attempt) {
        int fd = fs_.open(place.directory, place.name, flags);
        if (fd >= 0) {
            out.reset(fd);
            return 0;
        }
        // EAGAIN: somebody holds a lease and is being told to give it up.
        bool may_pass = fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -EAGAIN;
        if (!may_pass || attempt == 6 || stop_.stop_requested()) return fd;
        sleep_unless_stopped(20ms * (1 << attempt));  // 1.3 s in all
    }
}

int SourceReader::settle(int fd, struct statx& status) const {
    Timestamp changed{std::chrono::seconds(status.stx_ctime.tv_sec) +
                      std::chrono::nanoseconds(status.stx_ctime.tv_nsec)};
    Duration age = clock_.now() - changed;
    Duration needed = status.stx_ctime.tv_nsec == 0 ? kCoarse : kTick;
    // In the future: the clock was set back, waiting would not help.
    if (age < -kTick || age >= needed) return 0;
    sleep_unless_stopped(needed - age);
    return fs_.status(fd, "", AT_EMPTY_PATH, status);
}

void SourceReader::pause(int reading) const {
    sleep_unless_stopped(20ms * (1 << reading));
}

bool SourceReader::same_state(const struct statx& before, const struct statx& after) {
    auto same_time = [](const statx_timestamp& a, const statx_timestamp& b) {
        return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
    };
    return before.stx_size == after.stx_size && same_time(before.stx_mtime, after.stx_mtime) &&
           same_time(before.stx_ctime, after.stx_ctime);
}

}  // namespace backup
