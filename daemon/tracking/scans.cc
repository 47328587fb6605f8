// Comparing with the last revision: in one go after a start or a loss, and slowly, always, by the
// scrubber, which looks for what tracking missed.
#include <algorithm>
#include <mutex>

#include <fcntl.h>

#include "common/log.h"
#include "daemon/archive/survey.h"
#include "daemon/restore/restore.h"
#include "daemon/tracking/tracker_impl.h"

namespace backup {

namespace {

constexpr Duration kScrubPause = std::chrono::seconds(60);
constexpr Duration kScanAgainAfter = std::chrono::minutes(1);
// A call that writes moves ctime when it begins and raises its event when it ends: what looks
// missed is looked at again after this time.
constexpr Duration kSuspectPatience = std::chrono::seconds(5);
constexpr std::size_t kFindingsPerPost = 1000;

bool same_time(const FileTime& time, std::int64_t nanoseconds) {
    return time.seconds == nanoseconds / 1'000'000'000 &&
           static_cast<std::int64_t>(time.nanoseconds) == nanoseconds % 1'000'000'000;
}

}  // namespace

struct ScanFinding {
    SurveyFinding finding;
};

// One scan at a time, whatever the number of sets: two would only be in each other's way.
void TrackerImpl::start_scan() {
    if (!scanning_set_.empty()) return;
    MonotonicTime now = clock_.monotonic();
    for (auto& [id, state] : sets_)
        if (state->tracked.needs_scan() && state->next_scan <= now)
            return begin_scan(*state, false);
    if (options_.scrub_period.count() == 0) return;
    for (auto& [id, state] : sets_) {
        if (state->tracked.needs_scan() || !state->has_base) continue;
        if (state->next_scrub == MonotonicTime{})
            state->next_scrub = now + options_.scrub_period / 24;
        if (state->next_scrub <= now) return begin_scan(*state, true);
    }
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
        if (volume.watcher && volume.watcher->status().unwatched_directories == 0) continue;
        if (volume.watcher) volume.watcher->retry_unwatched();
        for (const std::string& set : volume.sets) {
            SetState* state = find(set);
            if (state == nullptr || state->tracked.needs_scan()) continue;
            state->tracked.need_scan("what cannot be watched is compared", clock_.now());
            state->next_scan = MonotonicTime{};
        }
    }
}

void TrackerImpl::begin_scan(const SetState& state, bool is_scrub) {
    ScanOf what{state.tracked.set().id, state.tracked.set(), state.absent, never_enter_,
                state.tracked.losses(), state.commits,       is_scrub};
    scanning_set_ = what.set;
    scanner_ = std::jthread(
        [this, what = std::move(what)](std::stop_token stop) { scan(what, std::move(stop)); });
}

// On the scanner's thread.
void TrackerImpl::scan(const ScanOf& what, std::stop_token stop) {
    const std::string& set = what.set;
    const bool is_scrub = what.is_scrub;
    auto base = host_.base_of(set);
    Result<> done = {};
    std::string revision;
    bool has_base = false;
    if (!base.ok()) {
        done = std::move(base).error();
    } else if (*base) {
        has_base = true;
        revision = (**base).revision.id.hex();
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
        request.threads = is_scrub ? 1 : 2;
        request.clock = &clock_;
        if (is_scrub) {
            std::uint64_t objects = 1;
            if (const auto& summary = (**base).revision.snapshot.summary)
                objects = std::max<std::uint64_t>(summary->total_files_processed, 1);
            // The whole pass takes the whole period.
            Duration each = options_.scrub_period / static_cast<std::int64_t>(objects + 1);
            request.pace = [each, stop](std::uint64_t entries) {
                std::mutex waiting;
                std::unique_lock lock(waiting);
                std::condition_variable_any never;
                never.wait_for(lock, stop, each * static_cast<std::int64_t>(entries + 1),
                               [] { return false; });
            };
        }
        request.found = [&](const SurveyFinding& finding) {
            std::vector<ScanFinding> full;
            {
                std::lock_guard lock(mutex);
                findings.push_back({finding});
                if (is_scrub || findings.size() >= kFindingsPerPost) full.swap(findings);
            }
            if (is_scrub) {
                post([this, set, finding] {
                    Suspect suspect;
                    suspect.set = set;
                    suspect.path = join_path(finding.directory, finding.name);
                    if (auto now = held_state(suspect.path)) {
                        suspect.seen = *now;
                        suspect.is_there = true;
                    }
                    suspect.check_at = clock_.monotonic() + kSuspectPatience;
                    suspects_.push_back(std::move(suspect));
                });
            } else {
                flush(std::move(full));
            }
        };
        Progress progress;
        auto surveyed = run_survey(request, *(**base).repository, progress, stop);
        flush(std::move(findings));
        if (!surveyed.ok()) done = std::move(surveyed).error();
    }
    post([this, what, has_base, revision, done = std::move(done)] {
        scan_ended(what, has_base, revision, done);
    });
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
            // The paths of the set themselves are looked at by every run.
            bool is_inside = state->tracked.scope().of_directory(last) == Scope::Place::inside;
            place = is_inside ? place_of(last) : std::nullopt;
        }
        // No such directory any more: whoever took it away is told by its parent.
        if (!place) continue;
        // What could not be looked into may differ anywhere below.
        if (each.finding.kind == SurveyFinding::Kind::unreadable && each.finding.is_directory)
            if (auto inside = place_of(join_path(last, each.finding.name)))
                state->tracked.queue().mark_subtree(inside->first, inside->second, now);
        state->tracked.queue().mark_name(place->first, place->second, each.finding.name,
                                         each.finding.kind == SurveyFinding::Kind::content, false,
                                         now);
    }
    if (!findings.empty()) state->last_change = now;
}

void TrackerImpl::scan_ended(const ScanOf& what, bool has_base, const std::string& revision,
                             const Result<>& done) {
    scanning_set_.clear();
    if (scanner_.joinable()) scanner_.join();
    SetState* state = find(what.set);
    if (state == nullptr) return;
    MonotonicTime now = clock_.monotonic();
    if (what.is_scrub) {
        state->next_scrub = now + std::min(kScrubPause, options_.scrub_period);
        return;
    }
    if (!state->tracked.needs_scan()) return;  // a run has compared everything meanwhile
    state->next_scan = now + kScanAgainAfter;
    if (!done.ok()) {
        if (done.error().kind() != ErrorKind::cancelled)
            state->scan_problem = done.error().message();
        return;
    }
    state->scan_problem.clear();
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
    base.definition = TrackedSet::definition_of(state->tracked.set(), never_enter_);
    state->tracked.base_changed();
    ++state->tracked.rescans;
    state->tracked.compared(what.losses);
    state->weighed.generation = 0;
    if (state->tracked.needs_scan()) state->next_scan = MonotonicTime{};
}

// What the scrubber found different: told as missed only if, after everything that was told has
// been taken in, it is still different from the newest revision and nothing asks to look at it.
void TrackerImpl::check_suspects() {
    while (!suspects_.empty() && suspects_.front().check_at <= clock_.monotonic()) {
        Suspect suspect = std::move(suspects_.front());
        suspects_.pop_front();
        SetState* state = find(suspect.set);
        if (state == nullptr || state->tracked.needs_scan()) continue;
        for (auto& [id, volume] : volumes_)
            if (volume.sets.contains(suspect.set)) drain(volume, true);
        auto now = held_state(suspect.path);
        if (now.has_value() != suspect.is_there || (now && *now != suspect.seen)) continue;
        std::size_t slash = suspect.path.rfind('/');
        std::string directory = slash == 0 ? "/" : suspect.path.substr(0, slash);
        std::string name = suspect.path.substr(slash + 1);
        auto place = place_of(directory);
        if (!place) continue;
        const auto& marks = state->tracked.queue().volumes();
        if (auto volume = marks.find(place->first); volume != marks.end()) {
            auto at = volume->second.directories.find(place->second);
            if (at != volume->second.directories.end() &&
                (at->second.names.find(name) != nullptr || at->second.listing() != nullptr ||
                 at->second.subtree() != nullptr))
                continue;
        }
        auto base = host_.base_of(suspect.set);
        if (!base.ok() || !*base) continue;
        auto node = find_node(*(**base).repository, (**base).revision.snapshot.tree, suspect.path);
        bool was_there = node.ok();
        if (!was_there && node.error().kind() != ErrorKind::not_found) continue;
        bool is_content = was_there != now.has_value();
        if (was_there && now) {
            bool same_content = node->node.inode == now->inode && node->node.size == now->size &&
                                same_time(node->node.mtime, now->mtime_ns);
            if (same_content && same_time(node->node.ctime, now->ctime_ns)) continue;
            is_content = !same_content && node->node.type == NodeType::file;
        }
        if (!was_there && !now) continue;
        if (is_content) {
            ++state->tracked.missed_changes;
            host_.tracking_message(LogLevel::error,
                                   "a change in set '" + suspect.set +
                                       "' was missed and is found only now: please report it");
        } else {
            ++state->tracked.silent_metadata;
        }
        Timestamp time = clock_.now();
        state->tracked.queue().mark_name(place->first, place->second, name, is_content, false,
                                         time);
        state->last_change = time;
    }
}

}  // namespace backup
