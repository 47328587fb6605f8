// What people and the schedule ask: status, what waits, whether a path waits.
#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/tracking/tracker_impl.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

bool operator==(const VolumeStatus& a, const VolumeStatus& b) {
    return a.id == b.id && a.place == b.place && a.type == b.type && a.watching == b.watching &&
           a.state == b.state && a.problem == b.problem && a.overflows == b.overflows &&
           a.watched == b.watched && a.unwatched == b.unwatched;
}

// All but what always changes and is only read when asked for.
bool same(const TrackingStatus& a, const TrackingStatus& b) {
    return a.state == b.state && a.watching == b.watching && a.reason == b.reason &&
           a.gaps == b.gaps && a.pending == b.pending && a.oldest == b.oldest &&
           a.last_change == b.last_change && a.protected_until == b.protected_until &&
           a.missed_changes == b.missed_changes && a.missed_content == b.missed_content &&
           a.silent_metadata == b.silent_metadata && a.overflows == b.overflows &&
           a.rescans == b.rescans && a.held_files == b.held_files &&
           std::ranges::equal(a.volumes, b.volumes,
                              [](const auto& x, const auto& y) { return x == y; });
}

struct FrozenView {
    FrozenMarks marks;
    HandleResolver resolver;
    std::optional<Scope> scope;
    std::map<VolumeId, std::string> places;  // where the volumes are mounted
    std::vector<std::string> held;
    std::optional<Timestamp> protected_until;
    bool is_known = false;
};

// Fills in what the file system says now. `known`: when the run began that made the newest
// revision; what was born later is not in it.
void look(QueueEntry& entry, const Mark& mark, const std::optional<Timestamp>& known) {
    struct statx status;
    const UniqueFd object(std::max(open_path(entry.path, O_PATH | O_NOFOLLOW | O_CLOEXEC), -1));
    if (!object ||
        ::statx(object.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &status) != 0) {
        // Also what we may not look at, or what is on a disk that fails.
        bool is_gone = errno == ENOENT || errno == ENOTDIR;
        entry.kind = is_gone ? "deleted" : mark.content ? "modified" : "metadata";
        return;
    }
    if (S_ISREG(status.stx_mode)) entry.bytes = status.stx_size;
    bool is_new = (status.stx_mask & STATX_BTIME) != 0 &&
                  Timestamp(std::chrono::seconds(status.stx_btime.tv_sec) +
                            std::chrono::nanoseconds(status.stx_btime.tv_nsec)) >=
                      known.value_or(mark.first_seen - std::chrono::seconds(1));
    entry.kind = is_new ? "created" : mark.content ? "modified" : "metadata";
}

// Files of which an event told the handle alone. Most are among the entries by name already. What
// has no name in the set (yet) is told by its file system, when it is all that waits: a run finds
// out.
void add_objects(std::vector<QueueEntry>& entries, const FrozenView& view, std::size_t limit) {
    std::set<std::string> listed;
    for (const QueueEntry& entry : entries) listed.insert(entry.path);
    std::map<VolumeId, Timestamp> unnamed;
    for (const auto& [id, volume] : view.marks.volumes) {
        for (const auto& [handle, mark] : volume.objects) {
            if (limit != 0 && entries.size() >= limit) return;
            const auto facts = view.resolver.facts_of(id, handle);
            if (!facts || facts->links == 0) continue;
            const auto path = view.resolver.path_of(id, handle);
            if (path && view.scope->of_file(*path) == Scope::Place::inside) {
                if (!listed.insert(*path).second) continue;
                QueueEntry entry;
                entry.path = *path;
                entry.since = mark.first_seen;
                look(entry, mark, view.protected_until);
                entries.push_back(std::move(entry));
                continue;
            }
            auto [since, is_new] = unnamed.try_emplace(id, mark.first_seen);
            if (!is_new) since->second = std::min<Timestamp>(since->second, mark.first_seen);
        }
    }
    if (!entries.empty()) return;
    for (const auto& [id, since] : unnamed)
        if (auto place = view.places.find(id); place != view.places.end())
            entries.push_back({.path = place->second, .kind = "unnamed", .since = since});
}

}  // namespace

// Of a directory's own marks; nullptr: the object says what it is.
const char* TrackerImpl::word_of(MarkOver::Kind kind) {
    switch (kind) {
        case MarkOver::Kind::itself:
            return "metadata";
        case MarkOver::Kind::listing:
            return "directory";
        case MarkOver::Kind::subtree:
            return "subtree";
        case MarkOver::Kind::everything:
            return "everything";
        case MarkOver::Kind::name:
        case MarkOver::Kind::renamed:
            return nullptr;
    }
    return nullptr;
}

TrackingStatus TrackerImpl::status(const std::string& set) const {
    std::lock_guard lock(status_mutex_);
    auto found = published_.find(set);
    if (found == published_.end()) return {};
    TrackingStatus status = found->second;
    // Watched without a gap, and nothing waits but what was tried already.
    if (status.state == TrackingState::live && (status.pending == 0 || !status.last_change) &&
        status.protected_until)
        status.protected_until = clock_.now();
    return status;
}

TrackingStatus TrackerImpl::describe(const SetState& state) const {
    const TrackedSet& tracked = state.tracked;
    TrackingStatus status;
    WaitingCount waiting;
    for (const auto& [id, marks] : tracked.queue().volumes())
        waiting.objects += marks.objects.size();
    waiting.named = tracked.queue().size() - waiting.objects;
    waiting.nothing = state.weighed.nothing;
    // What came since may be something.
    waiting.is_reckoned =
        state.weighed.is_partial || tracked.queue().generation() != state.weighed.generation;
    status.pending = count_waiting(waiting);
    if (!tracked.queue().empty()) status.pending_bytes = state.weighed.bytes;
    status.oldest = tracked.queue().oldest();
    status.last_change = state.last_change;
    status.missed_changes = tracked.missed_changes;
    status.missed_content = tracked.missed_content;
    status.silent_metadata = tracked.silent_metadata;
    status.rescans = tracked.rescans;
    status.held_files = tracked.held().size();
    int weakest = -1;
    bool is_degraded = false;
    for (const auto& [id, volume] : volumes_) {
        if (!volume.sets.contains(tracked.set().id)) continue;
        VolumeStatus one;
        one.id = id;
        one.place = volume.mount.place;
        one.type = volume.mount.type;
        one.problem = volume.problem;
        WatchKind kind = WatchKind::scan;
        bool is_twofold = false;
        if (volume.watcher) {
            WatchStatus watch = volume.watcher->status();
            kind = watch.kind;
            one.records = watch.records;
            one.overflows = watch.overflows;
            one.watched = watch.watched_directories;
            one.unwatched = watch.unwatched_directories;
            if (!watch.problem.empty()) one.problem = watch.problem;
            is_degraded = is_degraded || one.unwatched > 0;
        } else {
            is_degraded = true;
        }
        if (auto seen = volume.twofold.find(tracked.set().id); seen != volume.twofold.end()) {
            is_degraded = is_twofold = true;
            one.problem = "the same lies at several places, " + seen->second +
                          ": changes are told of one of them, so everything is compared; leave "
                          "one of them out of the sets";
        }
        status.overflows += one.overflows;
        one.watching = to_string(kind);
        one.state = tracked.needs_scan() ? "scanning" : "live";
        weakest = std::max(weakest, static_cast<int>(kind));
        if (status.reason.empty() && (kind == WatchKind::scan || one.unwatched > 0 || is_twofold))
            status.reason = one.place + ": " + one.problem;
        status.volumes.push_back(std::move(one));
    }
    for (const Path& place : state.absent) {
        VolumeStatus one;
        one.place = place.text();
        one.state = "away";
        one.problem = "nothing is mounted there; the last revision's content is kept";
        status.reason = one.place + ": " + one.problem;
        status.volumes.push_back(std::move(one));
        is_degraded = true;
        ++status.gaps;
    }
    if (weakest >= 0) status.watching = to_string(static_cast<WatchKind>(weakest));
    if (tracked.needs_scan()) {
        status.state = TrackingState::scanning;
        status.reason = tracked.scan_reason();
        if (!state.scan_problem.empty()) status.reason += "; " + state.scan_problem;
        if (!state.has_base && state.scan_problem.empty())
            status.reason = "no revision yet: everything waits for the first run";
        status.gaps = std::max<std::uint64_t>(status.volumes.size(), 1);
    } else {
        status.state = is_degraded ? TrackingState::degraded : TrackingState::live;
    }
    status.protected_until = tracked.protected_until;
    return status;
}

void TrackerImpl::publish() {
    for (const auto& [id, state] : sets_) {
        TrackingStatus now = describe(*state);
        bool is_changed = false;
        {
            std::lock_guard lock(status_mutex_);
            TrackingStatus& known = published_[id];
            is_changed = !same(known, now);
            known = std::move(now);
        }
        if (is_changed) host_.tracking_changed(id);
    }
}

Result<std::vector<QueueEntry>> TrackerImpl::queue(const std::string& set, std::size_t limit) {
    FrozenView view;
    bool is_asked = ask([&] {
        SetState* state = find(set);
        if (state == nullptr) return;
        view.is_known = true;
        view.marks = state->tracked.queue().freeze();
        view.resolver = resolver_of(watchers_of(*state));
        view.scope = state->tracked.scope();
        for (const auto& [id, volume] : volumes_) view.places[id] = volume.mount.place;
        view.held = state->tracked.held_files();
        view.protected_until = state->tracked.protected_until;
    });
    if (!is_asked) return Error(ErrorKind::cancelled, "the daemon is stopping");
    std::vector<QueueEntry> entries;
    if (!view.is_known) return entries;

    struct Waiting {
        const VolumeId* volume;
        const ObjectHandle* directory;
        const std::string* name;  // nullptr: the directory itself
        const Mark* mark;
        const char* kind;
    };
    std::vector<Waiting> waiting;
    for (const auto& [id, volume] : view.marks.volumes) {
        for (const auto& [handle, directory] : volume.directories) {
            for (const auto& [name, mark] : directory.names)
                waiting.push_back({&id, &handle, &name, &mark, nullptr});
            if (directory.itself() != nullptr)
                waiting.push_back({&id, &handle, nullptr, directory.itself(), "metadata"});
            if (directory.listing() != nullptr)
                waiting.push_back({&id, &handle, nullptr, directory.listing(), "directory"});
            if (directory.subtree() != nullptr)
                waiting.push_back({&id, &handle, nullptr, directory.subtree(), "subtree"});
        }
    }
    auto older = [](const Waiting& a, const Waiting& b) {
        return a.mark->first_seen < b.mark->first_seen;
    };
    // Some may turn out to be gone.
    std::size_t enough = waiting.size();
    if (limit != 0 && limit < enough / 2) enough = std::min(enough, 2 * limit + 64);
    std::partial_sort(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(enough),
                      waiting.end(), older);
    std::ranges::sort(view.held);
    std::map<std::pair<VolumeId, ObjectHandle>, std::optional<std::string>> places;
    for (std::size_t i = 0; i < enough && (limit == 0 || entries.size() < limit); ++i) {
        const Waiting& one = waiting[i];
        auto [place, is_new] = places.try_emplace({*one.volume, *one.directory});
        if (is_new) place->second = view.resolver.path_of(*one.volume, *one.directory);
        if (!place->second) continue;
        QueueEntry entry;
        entry.path = one.name != nullptr ? join_path(*place->second, *one.name) : *place->second;
        entry.since = one.mark->first_seen;
        if (one.kind != nullptr)
            entry.kind = one.kind;
        else
            look(entry, *one.mark, view.protected_until);
        entry.is_held = std::ranges::binary_search(view.held, entry.path);
        entries.push_back(std::move(entry));
    }
    add_objects(entries, view, limit);
    std::ranges::stable_sort(entries, {}, &QueueEntry::since);
    return entries;
}

Result<std::optional<QueueEntry>> TrackerImpl::pending(const std::string& set,
                                                       const std::string& path) {
    std::optional<QueueEntry> found;
    bool is_asked = ask([&] {
        SetState* state = find(set);
        if (state == nullptr) return;
        each_mark_over(*state, path, [&](const MarkOver& over) {
            if (over.mark == nullptr) return;  // its name is marked, too
            QueueEntry entry;
            entry.path = path;
            entry.since = over.mark->first_seen;
            look(entry, *over.mark, state->tracked.protected_until);
            // A marked directory that is new brings everything below it along.
            if (over.is_direct || over.kind == MarkOver::Kind::everything) {
                const char* kind = word_of(over.kind);
                if (kind != nullptr) entry.kind = kind;
            }
            if (!found || entry.since < found->since) found = std::move(entry);
        });
    });
    if (!is_asked) return Error(ErrorKind::cancelled, "the daemon is stopping");
    return found;
}

}  // namespace backup
