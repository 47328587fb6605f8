// Canaries: on every volume that is watched, a file of our own comes to be from time to time. If no
// event tells of it, the watch is dead whatever it says, and is made anew.
//
// The file has no name (O_TMPFILE), in a directory of the set: nobody sees it, and no stamp of the
// directory moves. Where we may not write, or the file system has no such files, there is none,
// and the scrubber alone finds what a dead watch misses. The machine's daemon, to which all is
// read-only, has it made by the process that writes.
#include <algorithm>

#include <fcntl.h>

#include "common/log.h"
#include "common/path.h"
#include "daemon/runtime/nameless.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

namespace {

constexpr Duration kCanaryPatience = std::chrono::seconds(5);
constexpr Duration kNever = std::chrono::hours(1);

// The event comes when it is closed, and names it by its inode.
TrackedVolume::Canary touch(const TrackerOptions& options, const std::string& directory) {
    auto handle = handle_of(AT_FDCWD, directory.c_str());
    if (!handle.ok()) return {};
    const auto inode = options.touch ? options.touch(directory) : touch_nameless(directory);
    if (!inode.ok()) return {};
    return {std::move(*handle), "#" + std::to_string(*inode), true};
}

}  // namespace

void TrackerImpl::touch_canaries() {
    const bool is_off = options_.canary_period.count() == 0;
    next_canary_ = clock_.monotonic() + (is_off ? kNever : options_.canary_period);
    if (is_off || canary_deadline_ != MonotonicTime{}) return;  // or the last ones are still out
    for (auto& [id, volume] : volumes_) {
        if (!volume.watcher) continue;
        for (const Path& root : volume.roots) {
            volume.canary = touch(options_, root.text());
            if (!volume.canary.is_waited_for) continue;
            canary_deadline_ = clock_.monotonic() + kCanaryPatience;
            break;
        }
    }
}

void TrackerImpl::check_canaries() {
    if (canary_deadline_ == MonotonicTime{}) return;
    bool is_waiting = false;
    for (auto& [id, volume] : volumes_) {
        if (!volume.canary.is_waited_for) continue;
        is_waiting = true;
        if (clock_.monotonic() < canary_deadline_) continue;
        // A reader that is slow today is not dead: to the end of what the kernel has.
        drain(volume, true);
        if (volume.canary.is_waited_for && volume.watcher) {
            const std::string why =
                "a change of our own was not seen at " + printable(volume.mount.place);
            host_.tracking_message(LogLevel::error,
                                   why + ": it is watched anew, and everything is compared");
            arm(volume, why);
        }
        volume.canary = {};
    }
    if (!is_waiting || clock_.monotonic() >= canary_deadline_) canary_deadline_ = MonotonicTime{};
}

}  // namespace backup
