// What a backup run must look at, and what is cleared when its revision is durable.
#include <algorithm>
#include <mutex>

#include <fcntl.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/tracking/inode_names.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

class TrackedRunImpl final : public TrackedRun {
  public:
    explicit TrackedRunImpl(TrackerImpl& tracker) : tracker_(tracker) { ++tracker_.runs_; }
    ~TrackedRunImpl() override { --tracker_.runs_; }

    const LookAt* look_at() const override { return look_at_.get(); }
    bool has_gap() const override { return !absent_.empty(); }
    std::vector<Path> absent() const override { return absent_; }
    const Reread* reread() const override { return reread_ ? &*reread_ : nullptr; }
    std::string reason() const override { return reason_; }
    bool knows_changes() const override { return knows_changes_; }

    void unsettled(const std::string& path) override {
        std::lock_guard lock(mutex_);
        unsettled_.push_back(path);
    }

    void committed(const RevisionId& revision, const std::vector<std::string>& exceptions,
                   const ListAgain& again) override {
        (void)failpoint("run.durable");
        tracker_.ask([&] {
            finish(revision, exceptions, again);
            (void)failpoint("run.cleared");
        });
    }

    void finish(const RevisionId& revision, const std::vector<std::string>& exceptions,
                const ListAgain& again) {
        TrackerImpl::SetState* state = tracker_.find(set_);
        if (state == nullptr) return;
        TrackedSet& tracked = state->tracked;
        // To the end of the kernel's queues: a directory that was renamed while the walk went on
        // must be known before the marks below it are cleared.
        for (auto& [id, volume] : tracker_.volumes_)
            if (volume.sets.contains(set_)) tracker_.drain(volume, true);
        if (state->serial != serial_) {
            // Defined anew since: these are other marks, and what they were compared with is not
            // the last revision any more.
            state->commits = ++tracker_.last_serial_;
            tracked.need_scan("the last revision was made of an earlier definition of the set",
                              tracker_.clock_.now());
            state->next_scan = MonotonicTime{};
            return;
        }
        bool is_fresh = tracked.queue().generation() > frozen_.generation;
        tracked.queue().clear(frozen_);
        bool is_compared = look_at_ == nullptr || look_at_->is_everything();
        if (is_compared && absent_.empty()) tracked.compared(losses_);
        if (reread_ && absent_.empty() && (is_compared || is_unproven_marked_)) {
            tracked.base().unproven.reset();
            state->is_unproven_marked = false;
        }
        Timestamp now = tracker_.clock_.now();
        tracked.superseded(losses_, now);
        if (tracked.needs_scan()) state->next_scan = MonotonicTime{};
        // Looked at again: what could not be read is not in the revision, and so is new.
        for (const std::string& path : exceptions) mark(tracked, path, reread_.has_value(), now);
        for (const std::string& directory : again.directories)
            if (tracked.scope().of_directory(directory) == Scope::Place::inside)
                if (auto place = tracker_.place_of(directory))
                    tracked.queue().mark_listing(place->first, place->second, now);
        if (again.is_everything)
            for (const Path& path : paths_)
                if (auto place = tracker_.place_of(path.text()))
                    tracked.queue().mark_subtree(place->first, place->second, now);
        // Only what a second try may mend counts as waiting for one.
        {
            std::lock_guard lock(mutex_);
            for (const std::string& path : unsettled_) mark(tracked, path, true, now);
            if (!unsettled_.empty()) is_fresh = true;
        }
        if (!is_fresh) state->last_change.reset();
        TrackedSet::Base& base = tracked.base();
        base.revision = revision.hex();
        base.began = began_;
        base.definition = definition_;
        // What is missing now is still expected.
        std::map<std::string, VolumeId> places = state->places;
        for (const auto& [place, id] : base.places)
            if (!places.contains(place) && !absent_.empty()) places.emplace(place, id);
        base.places = std::move(places);
        tracked.base_changed();
        tracked.protected_until = began_;
        state->has_base = true;
        state->commits = ++tracker_.last_serial_;
        bool links_hold = look_at_ != nullptr && !look_at_->links_may_have_changed() &&
                          state->linked_of == parent_;
        state->linked_of = links_hold ? revision.hex() : "";
        if (!links_hold) state->linked.clear();
    }

  private:
    friend class TrackerImpl;

    void mark(TrackedSet& tracked, const std::string& path, bool must_read, Timestamp now) {
        std::size_t slash = path.rfind('/');
        if (slash == std::string::npos || slash + 1 == path.size()) return;
        std::string directory = slash == 0 ? "/" : path.substr(0, slash);
        if (tracked.scope().of_directory(directory) != Scope::Place::inside) {
            // A path of the set that is not there is waited for.
            if (!tracked.scope().is_path(path) || !held_state(path)) return;
        }
        auto place = tracker_.place_of(directory);
        if (place)
            tracked.queue().mark_name(place->first, place->second, path.substr(slash + 1), true,
                                      must_read, now);
    }

    TrackerImpl& tracker_;
    std::string set_, definition_, reason_, parent_;
    FrozenMarks frozen_;
    std::uint64_t serial_ = 0, losses_ = 0;
    bool knows_changes_ = false;
    Timestamp began_{};
    std::optional<Reread> reread_;
    bool is_unproven_marked_ = false;
    std::vector<Path> paths_, absent_;
    ExcludeRules exclude_;
    std::vector<std::string> held_;
    TrackerImpl::Watchers watchers_;
    std::unique_ptr<LookAtChanges> look_at_;
    std::mutex mutex_;  // guards unsettled_
    std::vector<std::string> unsettled_;
    std::shared_ptr<int> running_ = std::make_shared<int>(0);
};

namespace {

// The tracker knows nothing of this set: everything is looked at, nothing is remembered.
class UntrackedRun final : public TrackedRun {
  public:
    const LookAt* look_at() const override { return nullptr; }
    bool has_gap() const override { return false; }
    std::vector<Path> absent() const override { return {}; }
    const Reread* reread() const override { return nullptr; }
    std::string reason() const override { return "the set is not tracked"; }
    bool knows_changes() const override { return false; }
    void unsettled(const std::string& path) override { static_cast<void>(path); }
    void committed(const RevisionId& revision, const std::vector<std::string>& exceptions,
                   const ListAgain& again) override {
        static_cast<void>(revision);
        static_cast<void>(again);
        static_cast<void>(exceptions);
    }
};

}  // namespace

TrackerImpl::Watchers TrackerImpl::watchers_of(const SetState& state) const {
    Watchers watchers;
    for (const auto& [id, volume] : volumes_)
        if (volume.sets.contains(state.tracked.set().id))
            watchers[id] = {volume.watcher, volume.places};
    return watchers;
}

HandleResolver TrackerImpl::resolver_of(Watchers watchers) {
    auto shared = std::make_shared<Watchers>(std::move(watchers));
    HandleResolver resolver;
    resolver.path_of = [shared](const VolumeId& volume,
                                const ObjectHandle& handle) -> std::optional<std::string> {
        auto found = shared->find(volume);
        if (found == shared->end()) return std::nullopt;
        const Resolving& of_volume = found->second;
        return of_volume.watcher ? of_volume.watcher->path_of(handle)
                                 : of_volume.places->path_of(handle);
    };
    resolver.facts_of = [shared](
                            const VolumeId& volume,
                            const ObjectHandle& handle) -> std::optional<Watcher::ObjectFacts> {
        auto found = shared->find(volume);
        if (found == shared->end() || !found->second.watcher) return std::nullopt;
        return found->second.watcher->facts_of(handle);
    };
    resolver.open = [shared](const VolumeId& volume, const ObjectHandle& handle) -> UniqueFd {
        auto found = shared->find(volume);
        if (found == shared->end() || !found->second.watcher) return {};
        return found->second.watcher->open_directory(handle);
    };
    return resolver;
}

Result<std::vector<std::string>> TrackerImpl::linked_files(const std::string& set,
                                                           const RevisionId& parent) {
    std::optional<std::vector<std::string>> known;
    ask([&] {
        SetState* state = find(set);
        if (state != nullptr && state->linked_of == parent.hex()) known = state->linked;
    });
    if (known) return std::move(*known);
    auto base = TRY(host_.base_of(set));
    if (!base) return Error(ErrorKind::not_found, "there is no revision to look into");
    auto found =
        TRY(names_of_linked_files(base->repository->blobs(), base->revision.snapshot.tree));
    std::vector<std::string> paths;
    for (auto& [inode, path] : found) paths.push_back(std::move(path));
    ask([&] {
        SetState* state = find(set);
        if (state == nullptr) return;
        state->linked_of = parent.hex();
        state->linked = paths;
    });
    return paths;
}

void TrackerImpl::revision_rewritten(const std::string& set, const RevisionId& before,
                                     const RevisionId& after) {
    ask([&] {
        SetState* state = find(set);
        if (state == nullptr || state->tracked.base().revision != before.hex()) return;
        state->tracked.base().revision = after.hex();
        state->tracked.base_changed();
        if (state->linked_of == before.hex()) state->linked_of = after.hex();
    });
}

Result<std::unique_ptr<TrackedRun>> TrackerImpl::begin_run(const std::string& set,
                                                           const std::optional<RevisionId>& parent,
                                                           bool full) {
    auto run = std::make_unique<TrackedRunImpl>(*this);
    // On this thread: the tracker goes on taking what the watchers have.
    std::shared_ptr<const std::vector<Scope>> scopes;
    ask([&] {
        if (find(set) != nullptr) scopes = scopes_;
    });
    std::optional<Result<CensusResult>> census;
    if (options_.census_period.count() > 0 && scopes) census = look_around(std::move(scopes));
    bool is_known = false;
    bool is_asked = ask([&] {
        SetState* state = find(set);
        if (state == nullptr) return;
        is_known = true;
        TrackedSet& tracked = state->tracked;
        state->running = run->running_;
        ++state->runs;
        run->began_ = clock_.now();
        for (auto& [id, volume] : volumes_)
            if (volume.sets.contains(set)) drain(volume, true);
        if (!are_roots_in_place(set)) mounts_changed_ = true;
        if (std::exchange(mounts_changed_, false) || mounts_differ()) plan();
        if (census) note_census(*census);
        bool is_scan_only = std::ranges::none_of(
            volumes_, [&](const auto& each) { return each.second.sets.contains(set); });
        const bool is_twofold = std::ranges::any_of(
            volumes_, [&](const auto& each) { return each.second.twofold.contains(set); });
        for (auto& [id, volume] : volumes_) {
            if (!volume.sets.contains(set)) continue;
            if (!volume.watcher) {
                is_scan_only = true;
                continue;
            }
            for (const std::string& path : volume.watcher->unwatched())
                if (auto handle = handle_of(AT_FDCWD, path.c_str()); handle.ok())
                    tracked.queue().mark_listing(id, *handle, run->began_);
        }
        run->set_ = set;
        run->serial_ = state->serial;
        run->paths_ = tracked.set().paths;
        run->exclude_ = tracked.set().exclude;
        run->definition_ = TrackedSet::definition_of(tracked.set(), never_enter_);
        mark_passed(*state);
        run->frozen_ = tracked.queue().freeze();
        // What is not there is neither looked at nor cleared.
        std::erase_if(run->frozen_.volumes, [&](const auto& frozen) {
            auto volume = volumes_.find(frozen.first);
            return volume == volumes_.end() || !volume->second.sets.contains(set);
        });
        run->losses_ = tracked.losses();
        run->absent_ = state->absent;
        run->held_ = tracked.held_files();
        run->watchers_ = watchers_of(*state);
        run->reread_ = reread_of(tracked);
        run->is_unproven_marked_ = state->is_unproven_marked;
        const TrackedSet::Base& base = tracked.base();
        if (!parent)
            run->reason_ = "there is no earlier revision";
        else if (tracked.needs_scan())
            run->reason_ = tracked.scan_reason();
        else if (parent->hex() != base.revision)
            run->reason_ = "what was tracked continues another revision";
        else if (base.definition != run->definition_)
            run->reason_ = "the definition of the set changed";
        else if (is_scan_only)
            run->reason_ = "a file system of the set cannot be watched";
        else if (is_twofold)
            run->reason_ = "the set has the same at several places";
        run->knows_changes_ = run->reason_.empty();
        if (full) run->reason_ = "all content is read again";
    });
    if (!is_asked) return Error(ErrorKind::cancelled, "the daemon is stopping");
    (void)failpoint("run.begun");
    if (!is_known) return std::unique_ptr<TrackedRun>(std::make_unique<UntrackedRun>());
    if (full || !parent) return std::unique_ptr<TrackedRun>(std::move(run));

    LookAtInput input;
    input.everything = !run->reason_.empty();
    input.marks = &run->frozen_;
    input.resolver = resolver_of(run->watchers_);
    if (run->reread_)
        // Marked before the machine went down, and known by their handles only.
        for (const auto& [volume, marks] : run->frozen_.volumes)
            for (const auto& [handle, mark] : marks.objects)
                if (auto facts = input.resolver.facts_of(volume, handle); facts && mark.must_read)
                    run->reread_->inodes.insert(facts->inode);
    input.names_of_inodes = [&](const std::vector<std::uint64_t>& inodes)
        -> Result<std::vector<std::pair<std::uint64_t, std::string>>> {
        auto base = TRY(host_.base_of(set));
        if (!base) return Error(ErrorKind::not_found, "there is no revision to look into");
        return names_of_inodes(base->repository->blobs(), base->revision.snapshot.tree, inodes);
    };
    input.paths = run->paths_;
    input.exclude = &run->exclude_;
    input.held_files = run->held_;
    bool has_inotify = std::ranges::any_of(run->watchers_, [](const auto& watched) {
        const auto& watcher = watched.second.watcher;
        return watcher && watcher->status().kind == WatchKind::inotify;
    });
    run->parent_ = parent->hex();
    if (has_inotify && !input.everything) {
        auto linked = linked_files(set, *parent);
        if (!linked.ok()) {
            run->reason_ = "files with several names cannot be told: " + linked.error().message();
            return std::unique_ptr<TrackedRun>(std::move(run));
        }
        input.linked_files = std::move(*linked);
    }
    input.fs = &RealFs::instance();
    auto built = LookAtChanges::build(input);
    if (!built.ok()) {
        run->reason_ = "what changed cannot be told: " + built.error().message();
    } else if ((*built)->has_more_to_say()) {
        run->look_at_ = std::move(*built);
    }
    if (run->reason_.empty() && (run->look_at_ == nullptr || run->look_at_->is_everything()))
        run->reason_ = "changes on a file system cannot be told one by one";
    return std::unique_ptr<TrackedRun>(std::move(run));
}

}  // namespace backup
