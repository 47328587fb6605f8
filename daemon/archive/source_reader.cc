#include "daemon/archive/source_reader.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include <fcntl.h>
#include <linux/magic.h>

namespace backup {

using namespace std::chrono_literals;

namespace {
constexpr Duration kTick = 20ms;        // two ticks of the slowest kernels (100 Hz)
constexpr Duration kCoarse = 1100ms;    // file systems whose times are whole seconds
constexpr Duration kMostInFlight = 5s;  // an asynchronous write from submission to its end
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

int SourceReader::prepare(int fd, bool may_be_written, struct statx& status, bool& is_settled) {
    is_settled = true;
    bool is_coarse = status.stx_ctime.tv_nsec == 0;
    bool waits = !is_coarse || !reads_unsettled_;
    Duration age = age_of_change(status);
    Duration needed = is_coarse ? kCoarse : kTick;
    // In the future: the clock was set back, waiting would not help.
    if (waits && age >= -kTick && age < needed) {
        sleep_unless_stopped(needed - age);
        if (int error = fs_.status(fd, "", AT_EMPTY_PATH, status); error < 0) return error;
    }
    if (is_coarse && !waits && age >= -kCoarse && age < kCoarse) is_settled = false;
    if (!may_be_written || !S_ISREG(status.stx_mode)) return 0;

    struct statx first = status;
    bool is_clean = cleans_pages(fd) && sync_.sync(fd, stop_);
    if (int error = fs_.status(fd, "", AT_EMPTY_PATH, status); error < 0) return error;
    is_settled = is_settled && is_clean && same_state(first, status) &&
                 age_of_change(status) >= kMostInFlight;
    return 0;
}

Duration SourceReader::age_of_change(const struct statx& status) const {
    Timestamp changed{std::chrono::seconds(status.stx_ctime.tv_sec) +
                      std::chrono::nanoseconds(status.stx_ctime.tv_nsec)};
    return clock_.now() - changed;
}

// Only where it was seen: after a page was written back, the next store into it moves ctime. Not so
// on tmpfs (nothing is written back), FUSE and overlay; who knows of others.
bool SourceReader::cleans_pages(int fd) const {
    switch (fs_.file_system_type(fd)) {
        case EXT4_SUPER_MAGIC:
        case XFS_SUPER_MAGIC:
        case BTRFS_SUPER_MAGIC:
            return true;
    }
    return false;
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
