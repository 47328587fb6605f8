// Change tracking as bus clients see it: words, the answer of GetTracking, the lines of ListQueue.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/ipc/stream.h"
#include "daemon/tracking/tracker.h"

struct sd_bus_message;

namespace backup {

// fanotify, inotify or scan; scan where nothing is tracked.
std::string watching_word(const TrackingStatus& status);
// Of both, how the weaker one is watched.
void weaken(TrackingStatus& all, const TrackingStatus& one);

// a{sv} and aa{sv}, the second with an entry per volume.
int append_tracking(sd_bus_message* message, const TrackingStatus& status);

// The body of a stream: what waits, oldest first. Blocking; runs on a stream's thread.
struct QueueListing {
    Tracker* tracker;  // nullptr: nothing is known to wait
    std::string set;
    std::uint64_t limit = 0;  // 0: all

    Result<> operator()(LineWriter& lines) const;
};

}  // namespace backup
