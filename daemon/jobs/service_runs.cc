// What the service begins, and when: backups, collections, looking for a repository that was away.
#include <algorithm>
#include <set>

#include "daemon/guard/guard.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/reconcile.h"
#include "daemon/jobs/service.h"
#include "daemon/jobs/tasks.h"
#include "daemon/jobs/undo_book.h"

namespace backup {

namespace {

// Wall-clock deadlines are looked at again at least this often: libuv's clock stands still during
// suspend.
constexpr Duration kLongestSleep = std::chrono::minutes(15);
// A set that is held is looked at again at least this often.
constexpr Duration kLookForSource = std::chrono::hours(1);
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

}  // namespace

// When a revision must be made because something changed: what changed has been quiet for the
// settle time, or has waited for a minute, and the last run began long enough ago.
std::optional<Timestamp> Service::change_due(const BackupSet& set, const SetRecord& record,
                                             Timestamp now) const {
    constexpr Duration kLongestSettle = std::chrono::seconds(60);
    if (!set.enabled || !set.automatic || tracker_ == nullptr) return std::nullopt;
    const GuardRecord guard = guards_.of(set.id);
    if (!why_held(guard).empty()) return std::nullopt;
    // The source may be back, and nothing need have changed in it.
    if (guard.source.is_open() && guard.source.holds)
        return record.last_attempt > now ? now : record.last_attempt + kLookForSource;
    TrackingStatus tracking = tracker_->status(set.id);
    bool is_live =
        tracking.state == TrackingState::live || tracking.state == TrackingState::degraded;
    if (!is_live || tracking.pending == 0 || !tracking.last_change) return std::nullopt;
    Duration settle = std::chrono::milliseconds(set.settle_ms);
    Timestamp due =
        std::min(*tracking.last_change + settle, tracking.oldest.value_or(*tracking.last_change) +
                                                     std::max(settle, kLongestSettle));
    // A begin in the future is a clock that was set back.
    if (record.last_attempt <= now)
        due = std::max(due, record.last_attempt + std::chrono::seconds(set.min_interval_seconds));
    return due;
}

// A run that ended with the daemon is taken up by the next one, soon and once: a run that brings
// the daemon down each time waits for its ordinary turn.
void Service::plan_resumes() {
    auto jobs = store_.jobs(kMostLookedThrough);
    if (!jobs.ok()) return;
    std::set<std::string> seen;
    for (const JobRecord& job : *jobs) {
        if (job.kind != "backup" || !seen.insert(job.set).second) continue;
        const bool was_interrupted = !job.end || job.outcome == "interrupted";
        if (was_interrupted && job.trigger != "resume")
            resumes_[job.set] = clock_.now() + kResumeAfter;
    }
}

std::optional<Timestamp> Service::resume_due(const BackupSet& set) const {
    auto found = resumes_.find(set.id);
    const bool runs_by_itself = set.enabled && (set.automatic || set.interval_seconds != 0);
    if (found == resumes_.end() || !runs_by_itself) return std::nullopt;
    return found->second;
}

std::optional<Timestamp> Service::reconcile_due(const BackupSet& set, const SetRecord& record,
                                                Timestamp now) const {
    static const std::string machine = machine_id();
    if (!why_held(guards_.of(set.id)).empty()) return std::nullopt;
    auto tried = full_tried_.find(set.id);
    return next_reconcile(set, record, machine,
                          tried == full_tried_.end() ? Timestamp{} : tried->second, now);
}

std::optional<Timestamp> Service::next_run_of(const BackupSet& set) const {
    Timestamp now = clock_.now();
    SetRecord record = set_status(set.id).record;
    if (!why_held(guards_.of(set.id)).empty()) return std::nullopt;
    auto by_interval = next_run(set, record, now);
    auto by_change = change_due(set, record, now);
    std::optional<Timestamp> next = by_interval;
    for (const auto& other : {by_change, resume_due(set)})
        if (!next || (other && *other < *next)) next = other;
    return next;
}

void Service::start_backup(const std::string& id, bool full, const std::string& trigger,
                           std::uint32_t uid, std::function<void(Result<const Job*>)> started) {
    auto set = find_set(id);
    if (!set.ok()) return started(std::move(set).error());
    if (std::string why = why_held(guards_.of(id)); !why.empty())
        return started(
            Error(ErrorKind::conflict, ErrorCode::conflict,
                  "set '" + id + "' is held: " + why + " (backupctl approve " + id + ")"));
    SetStatus known = set_status(id);
    JobRequest request;
    request.kind = "backup";
    request.set = id;
    request.repository = (*set)->repository;
    request.trigger = trigger;
    request.mode = full ? "full" : "incremental";
    request.parent = known.record.latest_revision;
    request.uid = uid;
    request.unique = "backup:" + id;
    request.writes = true;
    request.body = backup_body(pool_, clock_,
                               {.policy = policy_,
                                .set = id,
                                .full = full,
                                .trigger = trigger,
                                .last_number = known.record.last_number,
                                .state_dir = options_.state_dir,
                                .store = &store_,
                                .tracker = tracker_.get(),
                                .guard = &guards_,
                                .gives_way_to = &precedence_,
                                .was_running = was_running_here(store_, id)});
    request.remember = remember_backup;
    runner_.start(std::move(request), std::move(started));
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
                     .frozen = {},
                     .guards = &guards_,
                     .tracker = tracker_.get(),
                     .store = &store_};
    for (const auto& [id, set] : policy_->sets)
        if (std::string why = frozen(set); !why.empty()) task.frozen[id] = std::move(why);
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

// Starts what is due and sleeps until the next deadline, of a run or of a promise.
void Service::tick() {
    tick_soon_ = false;
    Timestamp now = clock_.now();
    Timestamp wake = now + kLongestSleep;
    bool any = false;
    for (const auto& [id, set] : policy_->sets) {
        if (!set.enabled) continue;
        any = true;
        SetRecord record = set_status(id).record;
        Timestamp late = record.last_success + promised_age(set);
        if (late > now) wake = std::min(wake, late + std::chrono::seconds(1));
        auto due = next_run(set, record, now);
        const char* trigger = "schedule";
        if (auto change = change_due(set, record, now); change && (!due || *change < *due)) {
            due = change;
            trigger = "change";
        }
        if (auto again = resume_due(set); again && (!due || *again < *due)) {
            due = again;
            trigger = "resume";
        }
        auto reconcile = reconcile_due(set, record, now);
        if (reconcile && (!due || *reconcile < *due)) {
            due = reconcile;
            trigger = "schedule";
        }
        if (!due || runner_.active_backup(id) != nullptr) continue;
        if (!why_held(guards_.of(id)).empty()) continue;
        if (*due > now) {
            wake = std::min(wake, *due);
            continue;
        }
        // A run that cannot be begun is asked for again an interval later, not at once.
        sets_[id].record.last_attempt = now;
        const bool is_full = reconcile && *reconcile <= now;
        if (is_full) full_tried_[id] = now;
        start_backup(id, is_full, trigger, 0, [this, id = id](Result<const Job*> job) {
            if (!job.ok())
                events_.add(LogLevel::error, "cannot start the backup of set '" + id +
                                                 "': " + job.error().message());
        });
    }
    collect_what_is_due(now, wake);
    // A disk that was unplugged may be back.
    const MonotonicTime elapsed = clock_.monotonic();
    for (const auto& [name, repository] : policy_->repositories) {
        if (pool_.status(name).state != RepositoryState::unavailable) continue;
        if (probes_.is_due(name, elapsed)) {
            probes_.begin(name, elapsed);
            refresh_repository(name);
        }
        wake = std::min(wake, now + (probes_.next(name) - elapsed));
    }
    if (any) tick_.start(std::max<Duration>(wake - now, std::chrono::milliseconds(20)));
    if (listener_ != nullptr) listener_->any_changed();
}

// Not later than was asked for already.
void Service::tick_later() {
    if (begun_ && !tick_soon_) tick_.start(std::chrono::seconds(1));
}

// Memory is given back some time after use, not right after it: the next run may follow at once.
void Service::rest() {
    if (runner_.active() > 0) return rest_.start(kRestAfter);
    io_.run([this] {
        history_.index().rest();
        pool_.rest();
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
