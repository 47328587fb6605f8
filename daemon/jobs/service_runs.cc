// What the service begins, and when: backups, collections, looking for a repository that was away.
#include <algorithm>
#include <set>

#include "daemon/guard/guard.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/service.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/jobs/tasks.h"
#include "daemon/jobs/undo_book.h"

namespace backup {

namespace {

constexpr Duration kRestAfter = std::chrono::seconds(30);
// After the start, when whoever boots the machine has other things to do first.
constexpr Duration kResumeAfter = std::chrono::minutes(1);
constexpr std::size_t kMostLookedThrough = 200;  // jobs
constexpr Duration kRestFromScrubber = std::chrono::minutes(5);

// More jobs than are looked at: then they are all taken for ours.
constexpr std::size_t kJobsLookedAt = 5'000;

std::function<bool(Timestamp)> was_running_here(StateStore& store, const std::string& set) {
    return [&store, set](Timestamp time) {
        auto jobs = store.jobs(kJobsLookedAt);
        if (!jobs.ok()) return true;
        if (jobs->size() == kJobsLookedAt && jobs->back().begin > time) return true;
        return std::ranges::any_of(*jobs, [&](const JobRecord& job) {
            return job.kind == "backup" && job.set == set && job.begin <= time &&
                   (!job.end || time <= *job.end);
        });
    };
}

// A person who asks for a run learns from it what is wrong with the storage.
std::vector<Reason> without_storage(std::vector<Reason> reasons) {
    std::erase_if(reasons, [](const Reason& reason) {
        return reason.condition == Condition::restore ||
               (reason.condition == Condition::offline && reason.of_storage);
    });
    return reasons;
}

}  // namespace

// A run that ended with the daemon is taken up by the next one, soon and once: a run that brings
// the daemon down each time waits for its ordinary turn.
void Service::plan_resumes() {
    auto jobs = store_.jobs(kMostLookedThrough);
    if (!jobs.ok()) return;
    std::set<std::string> seen;
    for (const JobRecord& job : *jobs) {
        if (job.kind != "backup" || !seen.insert(job.set).second) continue;
        const bool was_interrupted = !job.end || job.outcome == "interrupted";
        // One that was stopped in order is no suspect.
        const bool was_parked = job.error_name == to_string(ErrorCode::paused);
        if (was_interrupted && (was_parked || job.trigger != "resume"))
            resumes_[job.set] = clock_.now() + kResumeAfter;
        if (was_interrupted && was_parked) parked_.insert(job.set);
    }
    for (const auto& [id, known] : sets_)
        if (const auto renewed = churn_renewal(known.record); renewed && !resumes_.contains(id))
            resumes_[id] = *renewed;
}

void Service::start_backup(const std::string& id, const BackupStart& start,
                           std::function<void(Result<const Job*>)> started) {
    auto set = find_set(id);
    if (!set.ok()) return started(std::move(set).error());
    if ((*set)->is_found)
        return started(Error(ErrorKind::conflict, ErrorCode::conflict,
                             "set '" + id + "' was found in repository '" + (*set)->repository +
                                 "' and is not set up on this machine: `backupctl set edit " + id +
                                 " --enable` goes on with it here"));
    if (std::string why = why_held(guards_.of(id)); !why.empty())
        return started(
            Error(ErrorKind::conflict, ErrorCode::conflict,
                  "set '" + id + "' is held: " + why + " (backupctl approve " + id + ")"));
    if (start.may_be_put_off && runner_.active_backup(id) == nullptr) {
        const Timestamp now = clock_.now();
        const auto reasons =
            holding(windows_of(**set), without_storage(holds_of(**set, now)), start.ignored, now);
        if (!reasons.empty()) {
            asked_[id] = {{now, start.full, start.uid}, start.ignored};
            keep_waiting();
            tick_later();
            if (listener_ != nullptr) listener_->set_changed(id);
            return started(Error(ErrorKind::transient, ErrorCode::paused,
                                 "set '" + id + "' waits: " + reasons.front().text +
                                     "; the run begins by itself when it may (now: backupctl run " +
                                     id + " --ignore " +
                                     std::string(to_string(reasons.front().condition)) + ")"));
        }
    }
    // One that runs already does not wait for them any more either.
    ignoring_[id].add(start.ignored);
    SetStatus known = set_status(id);
    JobRequest request;
    request.kind = "backup";
    request.set = id;
    request.repository = (*set)->repository;
    request.trigger = start.trigger;
    request.mode = start.full ? "full" : "incremental";
    request.parent = known.record.latest_revision;
    request.uid = start.uid;
    request.unique = "backup:" + id;
    request.writes = true;
    request.gate = rates_->gate(Rates::Way::up, id);
    request.body = backup_body(pool_, clock_,
                               {.policy = policy_,
                                .set = id,
                                .full = start.full,
                                .trigger = start.trigger,
                                .last_number = known.record.last_number,
                                .mends = known.record.drill_result == "failed",
                                .state_dir = options_.state_dir,
                                .store = &store_,
                                .tracker = tracker_.get(),
                                .guard = &guards_,
                                .gives_way_to = &precedence_,
                                .was_running = was_running_here(store_, id),
                                .pace = request.gate,
                                .time_is_short = is_time_short(**set),
                                .churn_before = churn_of_day(known.record, clock_.now())});
    request.remember = remember_backup;
    runner_.start(std::move(request), std::move(started));
    tick_later();
}

// A window will close, a battery will be empty: what is small shall be safe soon.
bool Service::is_time_short(const BackupSet& set) const {
    const bool on_battery = std::ranges::any_of(
        host_, [](const Reason& reason) { return reason.condition == Condition::battery; });
    return on_battery || windows_of(set).has_windows();
}

void Service::start_collection(const std::string& name, const CollectOptions& options,
                               const std::string& trigger, std::uint32_t uid,
                               std::function<void(Result<const Job*>)> started) {
    CollectTask task{.policy = policy_,
                     .repository = name,
                     .dry_run = options.dry_run,
                     .apply_rules = options.apply_rules,
                     .empty_trash = options.empty_trash,
                     .sets = options.sets,
                     .guards = &guards_,
                     .tracker = tracker_.get(),
                     .store = &store_};
    JobRequest request;
    request.kind = "gc";
    request.repository = name;
    request.trigger = trigger;
    request.mode = options.dry_run ? "dry-run" : "";
    request.uid = uid;
    if (!options.dry_run) {
        request.unique = "gc:" + name;
        io_.run([folder = undo_folder(), now = clock_.now()] { expire_undo(folder, now); });
        request.remember = [](StateStore& store, const JobRecord& record, std::uint64_t) {
            remember_collect(store, record);
        };
    }
    request.body = collect_body(pool_, clock_, std::move(task));
    runner_.start(std::move(request), std::move(started));
}

void Service::start_audit(const std::string& name, std::uint32_t uid,
                          std::function<void(Result<const Job*>)> started) {
    JobRequest request;
    request.kind = "gc";
    request.mode = "audit";
    request.repository = name;
    request.uid = uid;
    request.body = audit_body(pool_, store_, clock_, name);
    runner_.start(std::move(request), std::move(started));
}

// Repositories that sets of ours use. The first time a repository is seen its period begins.
void Service::collect_what_is_due(Timestamp now, Timestamp& wake) {
    for (const auto& [name, policy] : policy_->repositories) {
        const bool is_used = std::ranges::any_of(policy_->sets, [&name = name](const auto& entry) {
            return entry.second.enabled && entry.second.repository == name;
        });
        if (!is_used) continue;
        RepositoryRecord& record = repositories_[name].record;
        if (record.last_collect == Timestamp{} && policy.collect_seconds != 0) {
            record.last_collect = now;
            change_repository_record(
                name,
                [now](RepositoryRecord& kept) {
                    if (kept.last_collect == Timestamp{}) kept.last_collect = now;
                },
                [](Result<>) {});
        }
        auto due = next_collection(policy, record, now);
        if (!due) continue;
        if (*due > now) {
            wake = std::min(wake, *due);
            continue;
        }
        record.last_collect_attempt = now;
        start_collection(name, {.apply_rules = true}, "schedule", 0,
                         [this, name = name](Result<const Job*> job) {
                             if (!job.ok())
                                 events_.add(LogLevel::error,
                                             "cannot start the collection of repository '" + name +
                                                 "': " + job.error().message());
                         });
    }
}

void Service::verify_what_is_due(Timestamp now, Timestamp& wake) {
    for (const auto& [name, policy] : policy_->repositories) {
        const auto due =
            next_verification(policy, repositories_[name].record, verify_tried_[name], now);
        if (!due) continue;
        if (*due > now) {
            wake = std::min(wake, *due);
            continue;
        }
        verify_tried_[name] = now;
        JobRequest request;
        request.kind = "check";
        request.repository = name;
        request.trigger = "schedule";
        request.unique = "check:" + name;
        request.body = check_body(pool_, {name, {}, static_cast<double>(policy.verify_percent)});
        request.remember = [](StateStore& store, const JobRecord& record, std::uint64_t) {
            remember_check(store, record);
        };
        runner_.start(std::move(request), [this, name = name](Result<const Job*> job) {
            if (!job.ok())
                events_.add(LogLevel::error, "cannot start the verification of repository '" +
                                                 name + "': " + job.error().message());
        });
    }
}

// Memory is given back some time after use, not right after it: the next run may follow at once.
void Service::rest() {
    if (runner_.active() > 0) return rest_.start(kRestAfter);
    io_.run(
        [this] {
            history_.index().rest();
            return pool_.rest();
        },
        [this](bool is_done) {
            if (!is_done) rest_.start(kRestAfter);
        });
    // Comparing goes on taking memory: for seconds after a start, all the time for the scrubber.
    bool is_scanning =
        tracker_ != nullptr && std::ranges::any_of(policy_->sets, [this](const auto& set) {
            return tracker_->status(set.first).state == TrackingState::scanning;
        });
    if (is_scanning)
        rest_.start(kRestAfter);
    else if (tracker_ != nullptr && policy_->tracking.scrub_period.count() > 0)
        rest_.start(kRestFromScrubber);
}

}  // namespace backup
