// Which file systems are watched, and by what.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <sys/stat.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/tracking/tracker_impl.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

std::string id_of(const Mount& mount) {
    auto id = volume_id(mount);
    if (id.ok()) return std::move(*id);
    return mount.type + ":" + mount.source + ":" + mount.root;
}

// As the service manager takes it: short, printable, no colon. FNV-1a, 64 bits.
std::string volume_name(const VolumeId& id) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    return text;
}

std::string mount_info() {
    std::ifstream file("/proc/self/mountinfo", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<ObjectHandle> handles_of(const std::vector<Path>& roots) {
    std::vector<ObjectHandle> handles;
    for (const Path& root : roots) {
        auto handle = handle_of_path(root.text());
        handles.push_back(handle.ok() ? std::move(*handle) : ObjectHandle());
    }
    return handles;
}

// The watcher finds what is there now.
bool can_find(Watcher& watcher, const std::vector<ObjectHandle>& roots) {
    return std::ranges::all_of(
        roots, [&](const ObjectHandle& root) { return watcher.path_of(root).has_value(); });
}

// Not what a link leads to: the link is what is protected.
bool is_directory(const Path& path) {
    struct stat status {};
    return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

}  // namespace

bool TrackerImpl::mounts_differ() const {
    return mount_info() != mounts_text_;
}

TrackedVolume* TrackerImpl::volume_at(const std::string& path) {
    if (!mounts_) return nullptr;
    const Mount* mount = mounts_->find(real_places_.real(path));
    if (mount == nullptr) return nullptr;
    for (auto& [id, volume] : volumes_)
        if (volume.mount.id == mount->id) return &volume;
    auto found = volumes_.find(id_of(*mount));
    return found == volumes_.end() ? nullptr : &found->second;
}

void TrackerImpl::plan() {
    std::string text = mount_info();
    auto table = MountTable::parse(text);
    if (!table.ok()) {
        host_.tracking_message(LogLevel::error,
                               "cannot read the mount table: " + table.error().message());
        return;
    }
    mounts_ = std::make_unique<MountTable>(std::move(*table));
    mounts_text_ = std::move(text);
    std::vector<SetPaths> paths;
    std::vector<Path> all_paths;
    for (const auto& [id, state] : sets_) {
        const BackupSet& set = state->tracked.set();
        paths.push_back({id, set.paths, !set.exclude.other_filesystems,
                         [&scope = state->tracked.scope()](const std::string& place) {
                             return scope.of_directory(place) != Scope::Place::outside;
                         }});
        all_paths.insert(all_paths.end(), set.paths.begin(), set.paths.end());
    }
    real_places_ = RealPlaces(all_paths);
    for (auto& [id, state] : sets_) {
        // Verdicts may be of what was hidden, or is by now.
        state->tracked.forget_places();
        if (!state->may_resume || text_of(mounted_below(*state)) == state->mounted_at_stop)
            continue;
        state->may_resume = false;
        state->tracked.need_scan("file systems below its paths came or went", clock_.now());
    }
    std::map<VolumeId, TrackedVolume> before = std::exchange(volumes_, {});
    for (VolumePlan& plan : plan_volumes(*mounts_, paths, id_of, is_directory, real_places_)) {
        TrackedVolume& volume = volumes_[plan.id];
        if (auto old = before.find(plan.id); old != before.end()) {
            volume = std::move(old->second);
            before.erase(old);
        }
        // inotify has no watch where no set looked into when it was armed.
        std::string scopes = scopes_of(plan.sets);
        bool is_inotify =
            volume.watcher != nullptr && volume.watcher->status().kind == WatchKind::inotify;
        bool is_same = volume.watcher != nullptr && volume.roots == plan.roots &&
                       volume.mount.device == plan.mount.device &&
                       !(is_inotify && volume.scopes != scopes) &&
                       can_find(*volume.watcher, handles_of(plan.roots));
        std::set<std::string> joined;
        std::ranges::set_difference(plan.sets, volume.sets, std::inserter(joined, joined.end()));
        volume.id = plan.id;
        volume.mount = plan.mount;
        volume.roots = std::move(plan.roots);
        volume.sets = std::move(plan.sets);
        volume.twofold = std::move(plan.twofold);
        volume.scopes = std::move(scopes);
        if (is_same) {
            for (const std::string& id : joined)
                if (SetState* state = find(id))
                    state->tracked.need_scan("tracking begins", clock_.now());
            const std::vector<ObjectHandle> handles =
                std::exchange(volume.root_handles, handles_of(volume.roots));
            for (std::size_t i = 0; i < handles.size(); ++i)
                for (const std::string& id : volume.sets)
                    if (SetState* state = find(id); state && handles[i] != volume.root_handles[i])
                        compare_below(*state, volume.roots[i].text());
            note_way(volume);
            continue;
        }
        bool is_first = volume.watcher == nullptr;
        arm(volume, is_first ? "the watch of " + printable(volume.mount.place) + " begins"
                             : "the paths on " + printable(volume.mount.place) + " changed");
        volume.root_handles = handles_of(volume.roots);
        note_way(volume);
        // Gone since it was looked for: it is watched from where it would be.
        const bool is_late = std::ranges::any_of(volume.roots, [&](const Path& root) {
            return real_places_.real(root.text()).size() > volume.mount.place.size() &&
                   !is_directory(root);
        });
        if (!volume.watcher && is_late) post([this] { mounts_changed_ = true; });
    }
    for (auto& [id, volume] : before) {
        if (volume.watcher) drain(volume, false);
        // What it covered up to now is to be seen again.
        for (const std::string& set : volume.sets)
            if (SetState* state = find(set)) {
                state->tracked.need_scan("the file system at " + printable(volume.mount.place) +
                                             " is not there any more",
                                         clock_.now());
                state->next_scan = MonotonicTime{};
            }
    }
    for (auto& [id, state] : sets_) {
        state->may_resume = false;  // or it does by now
        note_mounted(*state);
        note_places(*state);
    }
}

std::map<std::string, std::string> TrackerImpl::mounted_below(const SetState& state) const {
    std::map<std::string, std::string> mounted;
    for (const Path& path : state.tracked.set().paths)
        for (const Mount* mount : mounts_->below(real_places_.real(path.text())))
            mounted[real_places_.named(path, mount->place)] =
                std::to_string(mount->device) + " " + std::to_string(mount->id);
    return mounted;
}

// What a mount covered could not be found while it was there: a run that was made then cleared
// marks of it that it did not look at.
void TrackerImpl::note_mounted(SetState& state) {
    std::map<std::string, std::string> before = std::exchange(state.mounted, mounted_below(state));
    for (const auto& [place, mount] : before) {
        if (state.mounted.contains(place) ||
            state.tracked.scope().of_directory(place) != Scope::Place::inside)
            continue;
        const Timestamp now = clock_.now();
        if (auto uncovered = place_of(place)) {
            state.tracked.queue().mark_subtree(uncovered->first, uncovered->second, now);
            state.last_change = now;
        } else {
            state.tracked.need_scan("what was mounted at " + printable(place) + " is gone", now);
        }
    }
}

// Text that changes whenever these sets look into other directories.
std::string TrackerImpl::scopes_of(const std::set<std::string>& sets) const {
    std::string text;
    for (const std::string& id : sets) {
        auto state = sets_.find(id);
        if (state == sets_.end()) continue;
        const BackupSet& whole = state->second->tracked.set();
        BackupSet looks_into;
        looks_into.paths = whole.paths;
        looks_into.exclude.patterns = whole.exclude.patterns;
        text += TrackedSet::definition_of(looks_into, never_enter_);
    }
    return text;
}

void TrackerImpl::forget_group(TrackedVolume& volume) {
    if (std::exchange(volume.is_kept, false) && options_.forget)
        options_.forget("watch-" + volume_name(volume.id));
}

void TrackerImpl::keep_group(TrackedVolume& volume, const std::string& name) {
    volume.is_kept = false;
    if (!options_.keep || !volume.watcher) return;
    if (options_.forget) options_.forget(name);
    UniqueFd group = volume.watcher->group();
    if (!group) return;
    options_.keep(name, group.get());
    volume.is_kept = true;
}

// The new watch stands before the old one goes: between the two nothing is missed. What was not
// watched up to now must be compared.
void TrackerImpl::arm(TrackedVolume& volume, const std::string& why) {
    (void)failpoint("watch.begin");
    WatchOptions options;
    options.nudge = [this] {
        {
            std::lock_guard lock(tasks_mutex_);
            nudged_ = true;
        }
        wake_.notify_all();
    };
    options.skip = [scopes = scopes_](const std::string& directory, const std::string& name) {
        std::string path = join_path(directory, name);
        return std::ranges::none_of(*scopes, [&](const Scope& scope) {
            return scope.of_directory(path) != Scope::Place::outside;
        });
    };
    options.most_watches = options_.most_watches;
    VolumeClass kind = volume_class(volume.mount.type);
    std::shared_ptr<Watcher> armed;
    std::string problem;
    UniqueFd group;
    const std::string name = "watch-" + volume_name(volume.id);
    if (options_.inherit && volume.watcher == nullptr) group = options_.inherit(name);
    bool is_inherited = group.is_open();
    for (const std::string& way : options_.watching) {
        if (way == "scan" || failpoint("watch.refuse")) break;
        if (kind == VolumeClass::remote) {
            problem = volume.mount.type + " does not tell of changes made elsewhere";
            break;
        }
        if (way == "fanotify" && kind != VolumeClass::local) continue;
        auto made = way == "fanotify" ? watch_with_fanotify(volume.roots, options, std::move(group))
                                      : watch_with_inotify(volume.roots, options);
        if (made.ok()) {
            armed = std::move(*made);
            break;
        }
        if (!problem.empty()) problem += "; ";
        if (!made.error().message().starts_with(way + ": ")) problem += way + ": ";
        problem += made.error().message();
    }
    std::shared_ptr<Watcher> old = std::exchange(volume.watcher, std::move(armed));
    // What it has seen, it alone can name; there may be no new one.
    if (old) deliver(volume, old->take(), old);
    if (volume.problem != problem && !problem.empty())
        host_.tracking_message(volume.watcher ? LogLevel::info : LogLevel::warning,
                               printable(volume.mount.place) + ": " + problem);
    volume.problem = std::move(problem);
    volume.canary = {};
    keep_group(volume, name);
    for (const std::string& id : volume.sets)
        if (SetState* state = find(id)) {
            state->tracked.forget_places();
            if (is_inherited && volume.is_kept && state->may_resume) {
                host_.tracking_message(LogLevel::info,
                                       "set '" + id + "' is tracked on from where it stopped");
                continue;
            }
            state->tracked.need_scan(why, clock_.now());
            state->next_scan = MonotonicTime{};
        }
}

// After the watch began: what is renamed from then on is told.
void TrackerImpl::note_way(TrackedVolume& volume) {
    volume.way.clear();
    for (const Path& root : volume.roots) {
        for (Path at = root; at.text().size() > volume.mount.place.size(); at = at.parent()) {
            auto directory = handle_of_path(at.parent().text());
            if (!directory.ok()) continue;
            auto& steps = volume.way[*directory];
            const std::string name(at.name());
            if (std::ranges::find(steps, name, &TrackedVolume::Step::name) != steps.end()) break;
            auto object = handle_of_path(at.text());
            steps.push_back({name, object.ok() ? std::move(*object) : "", at.text()});
        }
    }
}

std::set<std::string> TrackerImpl::moved_on_the_way(const TrackedVolume& volume,
                                                    const WatchBatch& batch) {
    std::set<std::string> moved;
    if (volume.way.empty()) return moved;
    // A directory that came and went again is the same one: what happened meanwhile is unknown.
    for (const WatchBatch::DirectoryMove& move : batch.moves)
        for (const auto& [directory, name] : {std::tie(move.from_directory, move.from_name),
                                              std::tie(move.to_directory, move.to_name)}) {
            auto steps = volume.way.find(directory);
            if (steps == volume.way.end()) continue;
            for (const TrackedVolume::Step& step : steps->second)
                if (step.name == name) moved.insert(step.path);
        }
    // Other names tell of an object's metadata as well: it counts if it is not the same any more.
    auto look = [&](const std::vector<TrackedVolume::Step>& steps, const std::string* name) {
        for (const TrackedVolume::Step& step : steps) {
            if ((name != nullptr && step.name != *name) || moved.contains(step.path)) continue;
            auto now = handle_of_path(step.path);
            if ((now.ok() ? *now : "") != step.object) moved.insert(step.path);
        }
    };
    const ObjectHandle* last = nullptr;  // names come by directory
    auto steps = volume.way.end();
    for (const WatchBatch::Name& name : batch.names) {
        if (last == nullptr || *last != name.directory) steps = volume.way.find(name.directory);
        last = &name.directory;
        if (steps != volume.way.end()) look(steps->second, &name.name);
    }
    for (const ObjectHandle& directory : batch.relist)
        if (auto listed = volume.way.find(directory); listed != volume.way.end())
            look(listed->second, nullptr);
    return moved;
}

void TrackerImpl::compare_below(SetState& state, const std::string& place) {
    const auto& paths = state.tracked.set().paths;
    if (std::ranges::none_of(paths,
                             [&](const Path& path) { return is_at_or_below(path.text(), place); }))
        return;
    state.tracked.forget_places();
    state.tracked.need_scan(printable(place) + " is another directory, or was for a while",
                            clock_.now());
    state.next_scan = MonotonicTime{};
}

bool TrackerImpl::are_roots_in_place(const std::string& set) const {
    return std::ranges::all_of(volumes_, [&](const auto& each) {
        const TrackedVolume& volume = each.second;
        if (!volume.watcher || (!set.empty() && !volume.sets.contains(set))) return true;
        return handles_of(volume.roots) == volume.root_handles &&
               can_find(*volume.watcher, volume.root_handles);
    });
}

// What comes up while a file system is watched: once, not with every directory more.
void TrackerImpl::tell_problems() {
    for (auto& [id, volume] : volumes_) {
        if (!volume.watcher) continue;
        std::string problem = volume.watcher->status().problem;
        if (problem.empty() == volume.told_problem.empty()) continue;
        if (problem.empty())
            host_.tracking_message(LogLevel::info, printable(volume.mount.place) +
                                                       ": all directories are watched again");
        else
            host_.tracking_message(LogLevel::warning,
                                   printable(volume.mount.place) + ": " + problem);
        volume.told_problem = std::move(problem);
    }
}

// A file system that was there when the last revision was made and is not there now is missing, not
// deleted.
void TrackerImpl::note_places(SetState& state) {
    std::map<std::string, VolumeId> present;
    std::vector<Path> absent;
    for (const auto& [id, volume] : volumes_) {
        if (!volume.sets.contains(state.tracked.set().id)) continue;
        for (const Mount& mount : mounts_->mounts())
            // What is in memory is gone with its mount.
            if (mount.place == volume.mount.place && mount.type != "tmpfs")
                present[mount.place] = id;
    }
    for (const auto& before : state.tracked.base().places) {
        const std::string& place = before.first;
        bool is_there = std::ranges::any_of(
            mounts_->mounts(), [&](const Mount& mount) { return mount.place == place; });
        if (is_there) continue;
        // Paths of the set on it, or its place below one.
        std::size_t known = absent.size();
        for (const Path& path : state.tracked.set().paths)
            if (is_at_or_below(real_places_.real(path.text()), place)) absent.push_back(path);
        if (absent.size() != known) continue;
        for (const Path& path : state.tracked.set().paths) {
            if (!is_at_or_below(place, real_places_.real(path.text()))) continue;
            auto named = Path::parse(real_places_.named(path, place));
            if (named.ok()) absent.push_back(std::move(*named));
        }
    }
    const std::string& id = state.tracked.set().id;
    for (const Path& path : absent)
        if (std::ranges::find(state.absent, path) == state.absent.end())
            host_.tracking_message(LogLevel::warning,
                                   "set '" + id + "': the file system of " +
                                       printable(path.text()) +
                                       " is not mounted: what the last revision has of it is kept "
                                       "until it is back");
    for (const Path& path : state.absent)
        if (std::ranges::find(absent, path) == absent.end())
            host_.tracking_message(LogLevel::info, "set '" + id + "': the file system of " +
                                                       printable(path.text()) +
                                                       " is back, and is compared");
    state.places = std::move(present);
    state.absent = std::move(absent);
}

void TrackerImpl::accept_absence(const std::string& set) {
    ask([&] {
        SetState* state = find(set);
        if (state == nullptr) return;
        TrackedSet& tracked = state->tracked;
        note_places(*state);
        if (state->absent.empty()) return;
        tracked.base().places = state->places;
        tracked.base_changed();
        note_places(*state);
        tracked.need_scan("a missing file system is not expected any more", clock_.now());
        state->next_scan = MonotonicTime{};
    });
}

}  // namespace backup
