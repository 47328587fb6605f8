// Comparing with the last revision after a start or a loss.
#include <algorithm>
#include <mutex>
#include <utility>

#include <fcntl.h>

#include "common/log.h"
#include "daemon/archive/survey.h"
#include "daemon/tracking/look_plan.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

namespace {

// Twice as long after each failure.
constexpr Duration kScanAgainAfter = std::chrono::seconds(2);
constexpr Duration kLongestWait = std::chrono::minutes(1);
constexpr std::size_t kFindingsPerPost = 1000;

}  // namespace

struct ScanFinding {
    SurveyFinding finding;
};

// One scan at a time, whatever the number of sets: two would only be in each other's way.
void TrackerImpl::start_scan() {
    if (!scanning_set_.empty()) return;
    MonotonicTime now = clock_.monotonic();
    for (auto& [id, state] : sets_)
        if (state->tracked.needs_scan() && state->next_scan <= now) return begin_scan(*state);
}

void TrackerImpl::repository_returned(const std::string& set) {
    post([this, set] {
        SetState* state = find(set);
        if (state == nullptr || std::exchange(state->scan_failures, 0) == 0) return;
        if (state->tracked.needs_scan()) state->next_scan = MonotonicTime{};
    });
}

// What no watch tells of is compared from time to time, so that it waits in the queue and is run
// for like all else.
void TrackerImpl::scan_unwatched() {
    bool is_first = next_unwatched_ == MonotonicTime{};
    bool is_off = options_.degraded_scan_period.count() == 0;
    next_unwatched_ = clock_.monotonic() +
                      (is_off ? Duration(std::chrono::hours(1)) : options_.degraded_scan_period);
    if (is_first || is_off) return;
    for (auto& [id, volume] : volumes_) {
        const bool is_all_watched =
            volume.watcher && volume.watcher->status().unwatched_directories == 0;
        if (is_all_watched && volume.twofold.empty()) continue;
        if (volume.watcher) volume.watcher->retry_unwatched();
        for (const std::string& set : volume.sets) {
            if (is_all_watched && !volume.twofold.contains(set)) continue;
            SetState* state = find(set);
            if (state == nullptr || state->tracked.needs_scan()) continue;
            state->tracked.need_scan("what cannot be watched is compared", clock_.now());
            state->next_scan = MonotonicTime{};
        }
    }
}

void TrackerImpl::begin_scan(const SetState& state) {
    ScanOf what{
        state.tracked.set().id, state.tracked.set(),    state.absent,  never_enter_,
        state.serial,           state.tracked.losses(), state.commits, reread_of(state.tracked)};
    scanning_set_ = what.set;
    scanner_ = std::jthread(
        [this, what = std::move(what)](std::stop_token stop) { scan(what, std::move(stop)); });
}

// On the scanner's thread.
void TrackerImpl::scan(const ScanOf& what, std::stop_token stop) {
    const std::string& set = what.set;
    auto base = host_.base_of(set);
    Result<> done = {};
    std::string revision;
    Timestamp began{};
    bool has_base = false;
    if (!base.ok()) {
        done = std::move(base).error();
    } else if (*base) {
        has_base = true;
        revision = (**base).revision.id.hex();
        began = (**base).revision.snapshot.time;
        post([this, set, number = parse_revision_tags((**base).revision.snapshot.tags).number] {
            base_found(set, number);
        });
        std::mutex mutex;
        std::vector<ScanFinding> findings;
        auto flush = [&](std::vector<ScanFinding>&& some) {
            if (some.empty()) return;
            post([this, set, some = std::move(some)] { take_findings(set, some); });
        };
        SurveyRequest request;
        request.set = &what.definition;
        request.revision = (**base).revision;
        for (const std::string& place : what.never_enter)
            if (auto path = Path::parse(place); path.ok())
                request.never_enter.push_back(std::move(*path));
        request.absent = what.absent;
        request.reread = what.reread ? &*what.reread : nullptr;
        request.threads = 2;
        request.clock = &clock_;
        request.found = [&](const SurveyFinding& finding) {
            std::vector<ScanFinding> full;
            {
                std::lock_guard lock(mutex);
                findings.push_back({finding});
                if (findings.size() >= kFindingsPerPost) full.swap(findings);
            }
            flush(std::move(full));
        };
        Progress progress;
        auto surveyed = run_survey(request, *(**base).repository, progress, stop);
        flush(std::move(findings));
        if (!surveyed.ok()) done = std::move(surveyed).error();
    }
    post([this, what, has_base, revision, began, done = std::move(done)] {
        scan_ended(what, has_base, revision, began, done);
    });
}

void TrackerImpl::base_found(const std::string& set, std::uint64_t number) {
    SetState* state = find(set);
    if (state == nullptr || std::exchange(state->has_base, true)) return;
    if (!state->tracked.base().revision.empty()) return;
    host_.tracking_message(LogLevel::warning,
                           "set '" + set + "': the repository has revisions of it, the last is " +
                               std::to_string(number) +
                               ", and nothing is known of it here: the local state was lost, or is "
                               "new; everything is compared");
}

void TrackerImpl::take_findings(const std::string& set, const std::vector<ScanFinding>& findings) {
    SetState* state = find(set);
    if (state == nullptr) return;
    Timestamp now = clock_.now();
    std::string last;
    std::optional<std::pair<VolumeId, ObjectHandle>> place;
    for (const ScanFinding& each : findings) {
        if (place == std::nullopt || last != each.finding.directory) {
            last = each.finding.directory;
            bool is_inside = state->tracked.scope().of_directory(last) == Scope::Place::inside;
            place = is_inside ? place_of(last) : std::nullopt;
        }
        if (!place) {
            const std::string path = join_path(last, each.finding.name);
            using Place = Scope::Place;
            // Else there is no such directory any more, and whoever took it away is told by its
            // parent.
            if (state->tracked.scope().of_directory(last) != Place::inside &&
                state->tracked.scope().of_directory(path) != Place::outside)
                mark_path_of_set(*state, path, each.finding);
            continue;
        }
        // What could not be looked into may differ anywhere below.
        if (each.finding.kind == SurveyFinding::Kind::unreadable && each.finding.is_directory)
            if (auto inside = place_of(join_path(last, each.finding.name)))
                state->tracked.queue().mark_subtree(inside->first, inside->second, now);
        bool must_read = each.finding.kind == SurveyFinding::Kind::unproven;
        bool content = must_read || each.finding.kind == SurveyFinding::Kind::content;
        state->tracked.queue().mark_name(place->first, place->second, each.finding.name, content,
                                         must_read, now);
    }
    if (!findings.empty()) state->last_change = now;
}

// Runs look at the paths of the set, and at what leads to them, whatever is marked; but without a
// mark nothing would wait, and nobody would begin a run.
void TrackerImpl::mark_path_of_set(SetState& state, const std::string& path,
                                   const SurveyFinding& finding) {
    using Kind = SurveyFinding::Kind;
    const Timestamp now = clock_.now();
    ChangeQueue& queue = state.tracked.queue();
    // A path that is not there is waited for, unless the revision has it.
    if (finding.kind == Kind::unreadable && !held_state(path)) return;
    if (finding.is_directory && finding.kind != Kind::gone) {
        if (auto place = place_of(path)) {
            if (finding.kind == Kind::metadata)
                queue.mark_listing(place->first, place->second, now);
            else
                queue.mark_subtree(place->first, place->second, now);
            return;
        }
    }
    for (std::string below = path; below.size() > 1;) {
        const std::string directory(tracking::parent_of(below));
        if (auto place = place_of(directory)) {
            const bool must_read = finding.kind == Kind::unproven;
            queue.mark_name(place->first, place->second, tracking::name_of(below),
                            must_read || finding.kind != Kind::metadata, must_read, now);
            return;
        }
        below = directory;
    }
}

void TrackerImpl::scan_ended(const ScanOf& what, bool has_base, const std::string& revision,
                             Timestamp began, const Result<>& done) {
    scanning_set_.clear();
    if (scanner_.joinable()) scanner_.join();
    SetState* state = find(what.set);
    if (state == nullptr) return;
    MonotonicTime now = clock_.monotonic();
    if (what.serial != state->serial) {
        state->next_scan = MonotonicTime{};  // another definition than the one that was compared
        return;
    }
    if (!state->tracked.needs_scan()) return;  // a run has compared everything meanwhile
    if (!done.ok()) {
        const Duration wait = kScanAgainAfter * (1u << std::min(state->scan_failures++, 10u));
        state->next_scan = now + std::min(wait, kLongestWait);
        if (done.error().kind() != ErrorKind::cancelled)
            state->scan_problem = done.error().message();
        return;
    }
    state->scan_problem.clear();
    state->scan_failures = 0;
    state->has_base = has_base;
    if (!has_base) {
        state->next_scan = now + std::chrono::hours(1);  // the first run compares by itself
        return;
    }
    if (what.commits != state->commits) {
        state->next_scan = MonotonicTime{};  // compared with what is not the last revision any more
        return;
    }
    TrackedSet::Base& base = state->tracked.base();
    // What was renamed while it was compared must be known when renames are believed again.
    for (auto& [id, volume] : volumes_)
        if (volume.sets.contains(what.set)) drain(volume, true);
    // From now on the marks are relative to this revision.
    base.revision = revision;
    base.began = began;
    base.definition = TrackedSet::definition_of(state->tracked.set(), never_enter_);
    state->tracked.base_changed();
    ++state->tracked.rescans;
    state->tracked.compared(what.losses);
    if (what.reread && what.absent.empty() && state->absent.empty())
        state->is_unproven_marked = !state->tracked.needs_scan();
    state->weighed.generation = 0;
    if (state->tracked.needs_scan()) state->next_scan = MonotonicTime{};
}

}  // namespace backup
