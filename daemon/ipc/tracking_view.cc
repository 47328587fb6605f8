#include "daemon/ipc/tracking_view.h"

#include <systemd/sd-bus.h>

#include "common/path.h"
#include "common/wire.h"

namespace backup {

namespace {

wire::Dict dict_of(const TrackingStatus& status) {
    const auto usec = [](const std::optional<Timestamp>& time) {
        return time ? to_usec(*time) : std::uint64_t{0};
    };
    return {
        {"tracking", to_string(status.state)},
        {"watching", watching_word(status)},
        {"reason", printable(status.reason)},
        {"gaps", status.gaps},
        {"pending", status.pending},
        {"pending-bytes", status.pending_bytes},
        {"oldest", usec(status.oldest)},
        {"protected-until", usec(status.protected_until)},
        {"missed-changes", status.missed_changes},
        {"missed-content", status.missed_content},
        {"silent-metadata", status.silent_metadata},
        {"overflows", status.overflows},
        {"rescans", status.rescans},
        {"held-files", status.held_files},
    };
}

wire::Dict dict_of(const VolumeStatus& volume) {
    return {
        {"id", printable(volume.id)},     {"place", wire::FileName{volume.place}},
        {"type", printable(volume.type)}, {"watching", volume.watching},
        {"state", volume.state},          {"problem", printable(volume.problem)},
        {"records", volume.records},      {"overflows", volume.overflows},
        {"watched", volume.watched},      {"unwatched", volume.unwatched},
    };
}

// Strongest last.
int strength(const std::string& watching) {
    return watching == "fanotify" ? 2 : watching == "inotify" ? 1 : 0;
}

}  // namespace

std::string watching_word(const TrackingStatus& status) {
    return status.watching.empty() ? "scan" : status.watching;
}

void weaken(TrackingStatus& all, const TrackingStatus& one) {
    const std::string word = watching_word(one);
    if (all.watching.empty() || strength(word) < strength(all.watching)) all.watching = word;
}

int append_tracking(sd_bus_message* message, const TrackingStatus& status) {
    int r = wire::append_dict(message, dict_of(status));
    if (r >= 0) r = sd_bus_message_open_container(message, 'a', "a{sv}");
    for (const VolumeStatus& volume : status.volumes)
        if (r >= 0) r = wire::append_dict(message, dict_of(volume));
    return r < 0 ? r : sd_bus_message_close_container(message);
}

Result<> QueueListing::operator()(LineWriter& lines) const {
    if (tracker == nullptr) return {};
    JsonLine line;
    for (const QueueEntry& entry : TRY(tracker->queue(set, static_cast<std::size_t>(limit)))) {
        line.name("path", entry.path)
            .text("kind", entry.kind)
            .text("since", format_rfc3339(entry.since))
            .number("bytes", entry.bytes)
            .boolean("held", entry.is_held);
        TRY(lines.write(line));
    }
    return {};
}

}  // namespace backup
