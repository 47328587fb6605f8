#include "daemon/tracking/tracker_impl.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

constexpr Duration kLongSleep = std::chrono::hours(1);

// BACKUPD_BOOT_ID in the environment stands for another one, so that tests need no reboot.
std::string boot_id() {
    if (const char* of_test = std::getenv("BACKUPD_BOOT_ID")) return of_test;
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    file >> id;
    return id;
}

}  // namespace

std::unique_ptr<Tracker> Tracker::make(TrackerHost& host, StateStore& store, const Clock& clock,
                                       TrackerOptions options) {
    return std::make_unique<TrackerImpl>(host, store, clock, std::move(options));
}

TrackerImpl::TrackerImpl(TrackerHost& host, StateStore& store, const Clock& clock,
                         TrackerOptions options)
    : host_(host), store_(store), clock_(clock), options_(std::move(options)) {
    thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

TrackerImpl::~TrackerImpl() {
    thread_.request_stop();
    {
        std::lock_guard lock(tasks_mutex_);
        is_stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
    mount_watch_.reset();  // the thread's own until then
    // Only now: up to its end the thread may have begun another scan, and a scrub takes a day.
    scanner_.request_stop();
    scrubber_.request_stop();
    weigher_.request_stop();
    if (scanner_.joinable()) scanner_.join();
    if (scrubber_.joinable()) scrubber_.join();
    if (weigher_.joinable()) weigher_.join();
}

void TrackerImpl::post(std::function<void()> task) {
    {
        std::lock_guard lock(tasks_mutex_);
        if (is_stopping_) return;
        tasks_.push_back(std::move(task));
    }
    wake_.notify_all();
}

bool TrackerImpl::ask(const std::function<void()>& task) {
    struct State {
        std::mutex mutex;
        std::condition_variable changed;
        bool done = false;
    };
    auto state = std::make_shared<State>();
    {
        std::lock_guard lock(tasks_mutex_);
        if (is_stopping_) return false;
        tasks_.push_back([&task, state] {
            task();
            std::lock_guard done_lock(state->mutex);
            state->done = true;
            state->changed.notify_all();
        });
    }
    wake_.notify_all();
    std::unique_lock lock(state->mutex);
    state->changed.wait(lock, [&] { return state->done; });
    return true;
}

void TrackerImpl::run(std::stop_token stop) {
    std::vector<std::function<void()>> now;
    for (;;) {
        {
            std::unique_lock lock(tasks_mutex_);
            MonotonicTime deadline = next_deadline();
            wake_.wait_until(lock, deadline,
                             [&] { return nudged_ || !tasks_.empty() || is_stopping_; });
            now.assign(std::make_move_iterator(tasks_.begin()),
                       std::make_move_iterator(tasks_.end()));
            tasks_.clear();
            if (now.empty() && stop.stop_requested()) break;
            if (!std::exchange(nudged_, false) && now.empty() && clock_.monotonic() < deadline)
                continue;
        }
        for (auto& task : now) task();
        now.clear();
        drain();
        const bool is_census_due = clock_.monotonic() >= next_census_;
        if (is_census_due && !are_roots_in_place()) mounts_changed_ = true;
        if (std::exchange(mounts_changed_, false)) plan();
        if (is_census_due) take_census();
        if (clock_.monotonic() >= next_canary_) touch_canaries();
        check_canaries();
        if (clock_.monotonic() >= next_unwatched_) scan_unwatched();
        start_scan();
        start_scrub();
        if (clock_.monotonic() >= next_persist_) persist();
        start_weighing();
        tell_problems();
        publish();
    }
    for (auto& [id, state] : sets_) mark_passed(*state);
    leave_to_successor();
    persist();
}

// From here on the kernel's queues are left to the copies that the service manager keeps.
void TrackerImpl::leave_to_successor() {
    for (auto& [id, volume] : volumes_)
        if (volume.watcher) volume.watcher->stop();
    drain();
    for (auto& [id, state] : sets_) {
        state->tracked.stop_serving();
        bool is_kept = !state->tracked.needs_scan() && state->absent.empty();
        bool is_anywhere = false;
        for (const auto& [volume_id, volume] : volumes_) {
            if (!volume.sets.contains(id)) continue;
            is_anywhere = true;
            is_kept = is_kept && volume.watcher && volume.is_kept;
        }
        if (!is_kept || !is_anywhere) continue;
        state->tracked.base().resumable = boot_id() + text_of(state->mounted);
        state->tracked.base_changed();
    }
}

std::string TrackerImpl::text_of(const std::map<std::string, std::string>& mounted) {
    std::string text;
    for (const auto& [place, mount] : mounted) text += "\n" + place + "\n" + mount;
    return text;
}

MonotonicTime TrackerImpl::next_deadline() const {
    MonotonicTime now = clock_.monotonic();
    MonotonicTime deadline = now + kLongSleep;
    if (!sets_.empty()) {
        deadline = std::min({deadline, next_census_, next_canary_, next_unwatched_});
        if (canary_deadline_ != MonotonicTime{}) deadline = std::min(deadline, canary_deadline_);
    }
    bool has_records = false;
    for (const auto& [id, state] : sets_) {
        has_records = has_records || state->tracked.has_records() || state->is_unwritten;
        if (!is_weighing_ && !state->is_weighed())
            deadline = std::min(deadline, std::max(state->weighed.next, now));
        if (scanning_set_.empty() && state->tracked.needs_scan() && state->next_scan > now)
            deadline = std::min(deadline, state->next_scan);
        if (scrubbing_set_.empty() && !state->tracked.needs_scan() && state->has_base &&
            options_.scrub_period.count() > 0)
            deadline = std::min(deadline, std::max(state->next_scrub, now));
    }
    if (has_records) deadline = std::min(deadline, next_persist_);
    return deadline;
}

TrackerImpl::SetState* TrackerImpl::find(const std::string& set) {
    auto found = sets_.find(set);
    return found == sets_.end() ? nullptr : found->second.get();
}

void TrackerImpl::drain() {
    for (auto& [id, volume] : volumes_) drain(volume, false);
}

void TrackerImpl::drain(TrackedVolume& volume, bool waiting) {
    if (!volume.watcher) return;
    if (!waiting) return deliver(volume, volume.watcher->take(), volume.watcher);
    auto batch = volume.watcher->barrier();
    if (batch.ok()) return deliver(volume, *batch, volume.watcher);
    WatchBatch lost;
    lost.lost = "the events of " + printable(volume.mount.place) +
                " could not be read: " + batch.error().message();
    deliver(volume, lost, volume.watcher);
}

void TrackerImpl::deliver(TrackedVolume& volume, const WatchBatch& batch,
                          std::shared_ptr<Watcher> watcher) {
    if (batch.empty()) return;
    if (failpoint("events.dropped")) return;  // what no watcher may ever do
    if (batch.lost.empty() && failpoint("events.lost")) {
        WatchBatch lost;
        lost.lost = "the kernel's event queue overflowed (failpoint)";
        return deliver(volume, lost, watcher);
    }
    if (volume.canary.is_waited_for) {
        WatchBatch rest = batch;
        std::erase_if(rest.names, [&](const WatchBatch::Name& name) {
            return name.directory == volume.canary.directory && name.name == volume.canary.name;
        });
        if (rest.names.size() != batch.names.size()) {
            volume.canary.is_waited_for = false;
            return deliver(volume, rest, watcher);
        }
    }
    Timestamp now = clock_.now();
    ObjectHandle opened;  // names come by directory
    UniqueFd directory_fd;
    TrackedSet::Resolver resolver{
        [watcher](const ObjectHandle& handle) { return watcher->path_of(handle); },
        [watcher](const ObjectHandle& handle) {
            // An open file without a name is in no set; a name that it gets later is told.
            auto facts = watcher->facts_of(handle);
            return facts && facts->links > 0;
        },
        [watcher](const ObjectHandle& handle) {
            auto facts = watcher->facts_of(handle);
            return facts && !facts->is_directory && facts->links > 1;
        },
        [watcher, &opened, &directory_fd](const ObjectHandle& directory, const std::string& name,
                                          const ObjectHandle& object) {
            if (opened != directory) {
                directory_fd = watcher->open_directory(directory);
                opened = directory;
            }
            if (!directory_fd) return false;
            auto there = handle_of(directory_fd.get(), name.c_str());
            return there.ok() && *there == object;
        },
        // fanotify finds every directory that there is.
        [watcher,
         is_inotify = watcher->status().kind == WatchKind::inotify](const ObjectHandle& handle) {
            return is_inotify && watcher->facts_of(handle).has_value();
        }};
    const std::set<std::string> moved = moved_on_the_way(volume, batch);
    if (!moved.empty()) mounts_changed_ = true;
    for (const std::string& id : volume.sets) {
        SetState* state = find(id);
        if (state == nullptr) continue;
        Generation before = state->tracked.queue().generation();
        std::uint64_t losses = state->tracked.losses();
        state->tracked.absorb(volume.id, batch, resolver, now);
        for (const std::string& place : moved) compare_below(*state, place);
        if (state->tracked.queue().generation() != before) state->last_change = now;
        if (state->tracked.losses() != losses) {
            state->next_scan = MonotonicTime{};
            host_.tracking_message(LogLevel::warning, "set '" + id +
                                                          "' is compared with its last revision: " +
                                                          state->tracked.scan_reason());
        }
    }
    if (watcher != volume.watcher) return;            // it is not in charge any more
    if (!batch.lost.empty()) volume.is_kept = false;  // the group may be another one now
    if (batch.gone) {
        host_.tracking_message(LogLevel::notice,
                               "the file system at " + printable(volume.mount.place) +
                                   " is gone: what is known of it stays as it is");
        volume.watcher.reset();
        mounts_changed_ = true;
    }
}

void TrackerImpl::persist() {
    next_persist_ = clock_.monotonic() + options_.persist_period;
    for (auto& [id, state] : sets_) {
        if (!state->tracked.has_records() && !state->is_unwritten) continue;
        auto written = write(*state);
        if (written.ok()) {
            (void)failpoint("queue.written");
            continue;
        }
        // Nothing is lost: it stays in memory, and after a restart everything is compared.
        state->is_unwritten = true;
        log_warning("cannot keep the queue of set '" + id + "': " + written.error().message());
        next_persist_ = clock_.monotonic() + std::chrono::seconds(30);
        // What the store says may be of another time: no successor may go on from it.
        for (auto& [volume_id, volume] : volumes_)
            if (volume.sets.contains(id)) forget_group(volume);
    }
}

// What could not be written is not kept beside the marks: then all of them are written, once that
// works. Without them the store says that nothing is known, which is safe.
Result<> TrackerImpl::write(SetState& state) {
    const std::string& id = state.tracked.set().id;
    if (failpoint("queue.write")) return Error(ErrorKind::io, "the disk is full (failpoint)");
    if (!state.is_unwritten) return store_.write_queue(id, state.tracked.take_records());
    TRY(store_.drop_queue(id));
    TRY(store_.write_queue(id, state.tracked.all_records()));
    state.is_unwritten = false;
    return {};
}

// ---- policy
// ---------------------------------------------------------------------------------------

void TrackerImpl::set_policy(std::shared_ptr<const Policy> policy,
                             std::vector<std::string> own_places) {
    {
        // Whoever asks before the thread has looked is not told that nothing is tracked.
        std::lock_guard lock(status_mutex_);
        for (const auto& [id, set] : policy->sets) {
            if (!set.enabled) continue;
            auto [known, is_new] = published_.try_emplace(id);
            if (!is_new) continue;
            known->second.state = TrackingState::scanning;
            known->second.watching = to_string(WatchKind::scan);
            known->second.reason = "tracking begins";
            known->second.gaps = 1;
        }
    }
    post([this, policy = std::move(policy), own_places = std::move(own_places)]() mutable {
        apply(std::move(policy), std::move(own_places));
    });
}

void TrackerImpl::apply(std::shared_ptr<const Policy> policy, std::vector<std::string> own_places) {
    persist();  // a set that is defined anew goes on from what the store has
    const std::vector<std::string> places_before =
        std::exchange(never_enter_, std::move(own_places));
    policy_ = std::move(policy);
    std::map<std::string, std::unique_ptr<SetState>> before = std::exchange(sets_, {});
    auto scopes = std::make_shared<std::vector<Scope>>();
    for (const auto& [id, set] : policy_->sets) {
        if (!set.enabled) continue;
        auto scope = Scope::make(set, never_enter_);
        if (!scope.ok()) {
            host_.tracking_message(
                LogLevel::error, "set '" + id + "' cannot be tracked: " + scope.error().message());
            continue;
        }
        scopes->push_back(*scope);
        auto old = before.find(id);
        std::string definition = TrackedSet::definition_of(set, never_enter_);
        if (old != before.end() &&
            TrackedSet::definition_of(old->second->tracked.set(), places_before) == definition) {
            sets_[id] = std::move(old->second);
            continue;
        }
        auto state = std::make_unique<SetState>(TrackedSet(set, std::move(*scope)), ++last_serial_);
        load(*state);
        TrackedSet::Base& base = state->tracked.base();
        if (old != before.end()) base.unproven = old->second->tracked.base().unproven;
        state->tracked.begin_serving(boot_id(), clock_.now());
        if (base.unproven)
            host_.tracking_message(LogLevel::warning, "set '" + id + "': " + kStoppedSuddenly);
        const std::string boot = boot_id();
        state->may_resume = old == before.end() && !boot.empty() &&
                            base.resumable.starts_with(boot) && base.definition == definition &&
                            !base.unproven;
        if (state->may_resume) state->mounted_at_stop = base.resumable.substr(boot.size());
        if (!base.resumable.empty()) {
            // Only once: a crash from now on must be one.
            base.resumable.clear();
            state->tracked.base_changed();
        }
        if (!state->may_resume)
            state->tracked.need_scan(old != before.end() ? "the definition of the set changed"
                                     : base.unproven     ? "the machine stopped without warning"
                                                         : "tracking begins",
                                     clock_.now());
        sets_[id] = std::move(state);
    }
    for (const auto& [id, state] : before) {
        if (policy_->sets.contains(id)) continue;
        if (auto dropped = store_.drop_queue(id); !dropped.ok())
            log_warning("cannot forget the queue of set '" + id + "'");
    }
    {
        std::lock_guard lock(status_mutex_);
        std::erase_if(published_, [&](const auto& each) { return !sets_.contains(each.first); });
    }
    scopes_ = std::move(scopes);
    persist();
    if (mount_watch_ == nullptr) {
        auto watch = MountWatch::start([this] { post([this] { mounts_changed_ = true; }); });
        if (watch.ok())
            mount_watch_ = std::move(*watch);
        else
            host_.tracking_message(LogLevel::warning, "mounts and unmounts are not noticed: " +
                                                          watch.error().message());
    }
    if (next_census_ == MonotonicTime{}) next_census_ = clock_.monotonic();
    if (next_canary_ == MonotonicTime{})
        next_canary_ = clock_.monotonic() +
                       (options_.canary_period.count() > 0 ? options_.canary_period : kLongSleep);
    plan();
}

void TrackerImpl::load(SetState& state) {
    const std::string& id = state.tracked.set().id;
    auto records = store_.load_queue(id);
    Result<> loaded = records.ok() ? state.tracked.load(*records) : std::move(records).error();
    if (loaded.ok()) return;
    host_.tracking_message(LogLevel::warning,
                           "what waited for set '" + id + "' is not known any more (" +
                               loaded.error().message() +
                               "): everything is compared with the last revision");
    if (auto dropped = store_.drop_queue(id); !dropped.ok())
        log_warning("cannot forget the queue of set '" + id + "'");
}

std::optional<Reread> TrackerImpl::reread_of(const TrackedSet& tracked) {
    const auto& unproven = tracked.base().unproven;
    if (!unproven) return std::nullopt;
    const auto since = std::chrono::floor<std::chrono::seconds>(unproven->since.time_since_epoch());
    Reread reread;
    reread.since = FileTime{since.count(), 0};
    reread.paths.insert(unproven->paths.begin(), unproven->paths.end());
    return reread;
}

// ---- census
// ---------------------------------------------------------------------------------------

std::optional<std::pair<VolumeId, ObjectHandle>> TrackerImpl::place_of(
    const std::string& directory) {
    TrackedVolume* volume = volume_at(directory);
    if (volume == nullptr) return std::nullopt;
    auto handle = handle_of_path(directory);
    if (!handle.ok()) return std::nullopt;
    if (!volume->watcher) volume->places->remember(*handle, directory);
    return std::make_pair(volume->id, std::move(*handle));
}

void TrackerImpl::take_census() {
    Duration period =
        options_.census_period.count() > 0 ? options_.census_period : Duration(kLongSleep);
    next_census_ = clock_.monotonic() + period;
    if (!sets_.empty()) note_census(look_around(scopes_));
}

Result<CensusResult> TrackerImpl::look_around(std::shared_ptr<const std::vector<Scope>> scopes) {
    CensusOptions options;
    options.own_pid = ::getpid();
    options.wanted = [&scopes](const std::string& path) {
        return std::ranges::any_of(*scopes, [&](const Scope& scope) {
            return scope.of_file(path) == Scope::Place::inside;
        });
    };
    return backup::take_census(options);
}

void TrackerImpl::note_census(const Result<CensusResult>& census) {
    if (!census.ok()) {
        log_warning("cannot see who writes to files: " + census.error().message());
        return;
    }
    Timestamp now = clock_.now();
    for (auto& [id, state] : sets_) {
        Generation before = state->tracked.queue().generation();
        state->tracked.note_held(
            census->files, [this](const std::string& directory) { return place_of(directory); },
            now);
        if (state->tracked.queue().generation() != before) state->last_change = now;
    }
}

}  // namespace backup
