#include "daemon/jobs/service.h"

#include <algorithm>
#include <set>

#include "daemon/jobs/catalog.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/tasks.h"

namespace backup {

namespace {

constexpr unsigned kIoThreads = 4;
// Wall-clock deadlines are looked at again at least this often: libuv's clock stands still during
// suspend.
constexpr Duration kLongestSleep = std::chrono::minutes(15);
constexpr Duration kRestAfter = std::chrono::seconds(30);
constexpr Duration kRestFromScrubber = std::chrono::minutes(5);
constexpr std::size_t kShownAfterRestart = 64;

struct RepositoryView {
    std::map<std::string, SetStatus> sets;  // count and latest only
    std::optional<std::uint64_t> used_bytes;
};

std::optional<std::uint64_t> pack_bytes(Backend& backend) {
    std::uint64_t sum = 0;
    auto listed = backend.list(FileType::pack, [&](const FileInfo& file) { sum += file.size; });
    if (!listed.ok()) return std::nullopt;
    return sum;
}

}  // namespace

Service::Service(Loop& loop, StateStore& store, const Clock& clock, EventLog& events,
                 ServiceOptions options)
    : loop_(loop),
      store_(store),
      clock_(clock),
      events_(events),
      options_(std::move(options)),
      configuration_(options_.config_dir, options_.vendor_dir),
      pool_(
          clock, store, {options_.config_dir, options_.credentials_dir},
          [this](const std::string& name) {
              loop_.post([this, name, alive = std::weak_ptr<int>(alive_)] {
                  if (alive.expired()) return;
                  repositories_[name].status = pool_.status(name);
                  if (listener_ == nullptr) return;
                  listener_->repository_changed(name);
                  for (const auto& [id, set] : policy_->sets)
                      if (set.repository == name) listener_->set_changed(id);
                  listener_->any_changed();
              });
          },
          &open_backend, options_.state_dir + "/index"),
      tracking_host_(loop, pool_, events,
                     [this](const std::string& set) { tracking_changed(set); }),
      journal_(loop, "journal", 1),
      config_(loop, "config", 1),
      io_(loop, "io", kIoThreads),
      runner_(loop, store, journal_, events, clock) {
    runner_.set_listener(this);
    tick_ = loop_.timer([this] { tick(); });
    rest_ = loop_.timer([this] { rest(); });
    pool_.on_wake([this] {
        loop_.post([this, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.expired()) rest_.start(kRestAfter);
        });
    });
}

Service::~Service() {
    runner_.set_listener(nullptr);
}

SecretPlaces Service::secret_places() const {
    return {options_.config_dir, options_.credentials_dir};
}

void Service::load() {
    LoadedPolicy loaded = configuration_.load();
    problems_ = loaded.problems;
    for (const ConfigProblem& problem : problems_) events_.add(LogLevel::error, problem.text());
    if (problems_.empty()) policy_ = std::make_shared<Policy>(std::move(loaded.policy));
    pool_.set_policies(policy_->repositories);
    read_records();
    auto unfinished = store_.unfinished_jobs();
    if (!unfinished.ok())
        return events_.add(LogLevel::error,
                           "cannot read the journal of jobs: " + unfinished.error().message());
    std::ranges::sort(*unfinished, {}, &JobRecord::id);
    if (unfinished->size() > kShownAfterRestart) {
        // More than are ever shown: their records are ended all the same.
        for (std::size_t i = 0; i + kShownAfterRestart < unfinished->size(); ++i) {
            JobRecord& record = (*unfinished)[i];
            record.end = clock_.now();
            record.outcome = "interrupted";
            (void)store_.end_job(record);
        }
        unfinished->erase(unfinished->begin(),
                          unfinished->end() - static_cast<std::ptrdiff_t>(kShownAfterRestart));
    }
    for (JobRecord& record : *unfinished) {
        if (record.kind == "backup") {
            auto& known = sets_[record.set].record;
            known.last_attempt = record.begin;
            known.last_result = "interrupted";
        }
        runner_.adopt_interrupted(std::move(record));
    }
}

void Service::read_records() {
    for (const auto& [id, set] : policy_->sets)
        if (auto record = store_.set_record(id); record.ok()) sets_[id].record = *record;
    for (const auto& [name, repository] : policy_->repositories) {
        if (auto record = store_.repository_record(name); record.ok())
            repositories_[name].record = *record;
        repositories_[name].status = pool_.status(name);
    }
}

void Service::begin() {
    begun_ = true;
    track();
    for (const auto& [name, repository] : policy_->repositories) probe(name);
    tick_.start(std::chrono::seconds(1));
}

// Watching begins with the first policy; how it is done is settled then, sets come and go.
void Service::track() {
    tracking_host_.set_policy(policy_);
    if (tracker_ == nullptr) {
        const TrackingPolicy& wanted = policy_->tracking;
        TrackerOptions options;
        options.state_dir = options_.state_dir;
        options.watching = wanted.watching;
        options.census_period = wanted.census_period;
        options.scrub_period = wanted.scrub_period;
        options.scrub_content_percent = wanted.scrub_content_percent;
        options.canary_period = wanted.canary_period;
        options.degraded_scan_period = wanted.degraded_scan_period;
        options.most_watches = wanted.most_watches;
        options.inherit = options_.inherit;
        options.keep = options_.keep;
        options.forget = options_.forget;
        tracker_ = Tracker::make(tracking_host_, store_, clock_, std::move(options));
    }
    std::vector<std::string> places;
    for (const Path& place : own_places(*policy_, options_.state_dir))
        places.push_back(place.text());
    tracker_->set_policy(policy_, std::move(places));
}

void Service::tracking_changed(const std::string& set) {
    if (!policy_->sets.contains(set)) return;
    if (listener_ != nullptr) listener_->set_changed(set);
    if (begun_ && !tick_soon_) {
        tick_soon_ = true;
        tick_.start(std::chrono::milliseconds(5));
    }
}

// When a revision must be made because something changed: what changed has been quiet for the
// settle time, or has waited for a minute, and the last run began long enough ago.
std::optional<Timestamp> Service::change_due(const BackupSet& set, const SetRecord& record,
                                             Timestamp now) const {
    constexpr Duration kLongestSettle = std::chrono::seconds(60);
    if (!set.enabled || !set.automatic || tracker_ == nullptr) return std::nullopt;
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

// Opening early shows a missing password before the first backup is due, and removes locks of a
// daemon that died.
void Service::probe(const std::string& name) {
    if (begun_) refresh_repository(name);
}

void Service::refresh_repository(const std::string& name) {
    bool measure = pool_.status(name).used_bytes == 0;
    io_.run(
        [this, name, measure, policy = policy_]() -> Result<RepositoryView> {
            RepositoryHandle opened = TRY(pool_.open(name));
            std::vector<Revision> revisions =
                all_revisions(TRY(opened->repository->list_revisions()));
            RepositoryView view;
            for (const auto& [id, set] : policy->sets) {
                if (set.repository != name) continue;
                SetOnHost on_host{id, host_of(set)};
                SetStatus& status = view.sets[id];
                for (const Revision& revision : revisions) {
                    if (!belongs_to(revision, on_host) || revision.is_trashed()) continue;
                    if (status.revision_count++ == 0)
                        status.record.latest_revision = revision.id().hex();
                }
            }
            if (measure) view.used_bytes = pack_bytes(*opened->storage.backend);
            return view;
        },
        [this, name](Result<RepositoryView> view) {
            if (!view.ok()) {
                const std::string& message = view.error().message();
                // Some messages name the repository themselves.
                const std::string prefix = "repository '" + name + "': ";
                if (probes_.failed(name, message, clock_.monotonic()))
                    events_.add(LogLevel::warning,
                                message.starts_with(prefix) ? message : prefix + message);
                return;
            }
            probes_.succeeded(name);
            if (view->used_bytes) pool_.set_used_bytes(name, *view->used_bytes);
            for (auto& [id, status] : view->sets) {
                sets_[id].revision_count = status.revision_count;
                sets_[id].record.latest_revision = status.record.latest_revision;
                if (listener_ != nullptr) listener_->set_changed(id);
            }
        });
}

Result<const BackupSet*> Service::find_set(const std::string& id) const {
    auto found = policy_->sets.find(id);
    if (found != policy_->sets.end()) return &found->second;
    return Error(ErrorKind::not_found, ErrorCode::no_such_set, "there is no set '" + id + "'");
}

SetStatus Service::set_status(const std::string& id) const {
    auto found = sets_.find(id);
    return found == sets_.end() ? SetStatus{} : found->second;
}

RepositoryFacts Service::repository_facts(const std::string& name) const {
    auto found = repositories_.find(name);
    return found == repositories_.end() ? RepositoryFacts{} : found->second;
}

std::string Service::set_state(const BackupSet& set) const {
    if (const Job* job = runner_.active_backup(set.id))
        return job->state() == JobState::queued ? "queued" : "running";
    if (!set.enabled) return "disabled";
    if (repository_facts(set.repository).status.state == RepositoryState::damaged) return "error";
    return "idle";
}

std::string Service::frozen(const BackupSet& set) const {
    if (tracker_ == nullptr) return {};
    for (const VolumeStatus& volume : tracker_->status(set.id).volumes)
        if (volume.state == "away") return "the file system at " + volume.place + " is missing";
    return {};
}

std::vector<std::string> Service::blocked_by(const BackupSet& set) const {
    switch (repository_facts(set.repository).status.state) {
        case RepositoryState::locked:
            return {"locked"};
        case RepositoryState::unavailable:
            return {"offline"};
        case RepositoryState::unopened:
        case RepositoryState::ready:
        case RepositoryState::damaged:
            return {};
    }
    return {};
}

std::string Service::state() const {
    if (!problems_.empty()) return "error";
    bool queued = false;
    for (const Job* job : runner_.jobs()) {
        if (job->is_done()) continue;
        if (job->state() != JobState::queued) return "running";
        queued = true;
    }
    if (queued) return "waiting";
    for (const auto& [id, set] : policy_->sets)
        if (set.enabled && repository_facts(set.repository).status.state == RepositoryState::locked)
            return "locked";
    return "idle";
}

Health Service::health() const {
    return judge_health(*policy_, sets_, repositories_, problems_.empty(), clock_.now());
}

std::vector<std::string> Service::notices() const {
    std::vector<std::string> list;
    for (const ConfigProblem& problem : problems_) {
        if (!options_.hide_details) {
            list.push_back("configuration: " + problem.text());
            continue;
        }
        ConfigProblem bare{problem.file, problem.line, "an error: see `backupctl config check`"};
        list.push_back("configuration: " + bare.text());
    }
    for (const auto& [name, policy] : policy_->repositories) {
        RepositoryFacts facts = repository_facts(name);
        if (needs_reminder(facts))
            list.push_back("repository '" + name +
                           "' has one key and its recovery sheet was never tested: `backupctl repo "
                           "test " +
                           name + "` with the password from the sheet, or add a second key");
        if (is_collection_late(policy, facts.record, clock_.now()))
            list.push_back("garbage of repository '" + name +
                           "' was not collected for long: `backupctl gc " + name + "` says why");
        switch (facts.status.state) {
            case RepositoryState::locked:
                list.push_back("repository '" + name + "' is locked: `backupctl repo unlock " +
                               name + "`");
                break;
            case RepositoryState::damaged:
                list.push_back("repository '" + name + "' is damaged: `backupctl verify`");
                break;
            case RepositoryState::unavailable:
                list.push_back("repository '" + name + "' cannot be reached");
                break;
            case RepositoryState::unopened:
            case RepositoryState::ready:
                break;
        }
    }
    return list;
}

std::optional<Timestamp> Service::next_run_of(const BackupSet& set) const {
    Timestamp now = clock_.now();
    SetRecord record = set_status(set.id).record;
    auto by_interval = next_run(set, record, now);
    auto by_change = change_due(set, record, now);
    if (!by_interval || (by_change && *by_change < *by_interval)) return by_change;
    return by_interval;
}

void Service::start_backup(const std::string& id, bool full, const std::string& trigger,
                           std::uint32_t uid, std::function<void(Result<const Job*>)> started) {
    auto set = find_set(id);
    if (!set.ok()) return started(std::move(set).error());
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
                                .tracker = tracker_.get()});
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
                     .tracker = tracker_.get()};
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
    request.body = audit_body(pool_, name);
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

void Service::reload(Done done) {
    change_configuration([]() -> Result<> { return {}; }, std::move(done));
}

void Service::change_configuration(std::function<Result<>()> work, Done done) {
    struct Outcome {
        Result<> work;
        LoadedPolicy loaded;
    };
    config_.run(
        [this, work = std::move(work)]() -> Outcome {
            Outcome outcome{work(), {}};
            outcome.loaded = configuration_.load();
            return outcome;
        },
        [this, done = std::move(done)](Outcome outcome) {
            std::vector<ConfigProblem> problems = outcome.loaded.problems;
            apply(std::move(outcome.loaded));
            if (!outcome.work.ok()) return done(std::move(outcome.work));
            if (!problems.empty()) return done(problems_as_error(problems));
            done({});
        });
}

void Service::apply(LoadedPolicy loaded) {
    std::vector<ConfigProblem> before = std::exchange(problems_, std::move(loaded.problems));
    if (!problems_.empty()) {
        for (const ConfigProblem& problem : problems_) events_.add(LogLevel::error, problem.text());
        events_.add(LogLevel::error, "the configuration has errors: the old one stays in force");
        if (listener_ != nullptr) listener_->any_changed();
        return;
    }
    auto old = std::exchange(policy_, std::make_shared<Policy>(std::move(loaded.policy)));
    pool_.set_policies(policy_->repositories);
    std::set<std::string> touched;  // repositories to look into
    for (const auto& [name, repository] : policy_->repositories) {
        auto known = old->repositories.find(name);
        bool is_new = known == old->repositories.end();
        if (is_new || known->second.url != repository.url ||
            known->second.password_file != repository.password_file)
            touched.insert(name);
        repositories_[name].status = pool_.status(name);
        if (is_new && listener_ != nullptr) listener_->repository_added(name);
    }
    for (const auto& [id, set] : policy_->sets) {
        auto known = old->sets.find(id);
        bool is_new = known == old->sets.end();
        if (is_new || known->second.repository != set.repository) touched.insert(set.repository);
        if (listener_ == nullptr) continue;
        if (is_new)
            listener_->set_added(id);
        else
            listener_->set_changed(id);
    }
    for (const auto& [id, set] : old->sets) {
        if (policy_->sets.contains(id)) continue;
        sets_.erase(id);
        if (listener_ != nullptr) listener_->set_removed(id);
    }
    for (const auto& [name, repository] : old->repositories) {
        if (policy_->repositories.contains(name)) continue;
        repositories_.erase(name);
        if (listener_ != nullptr) listener_->repository_removed(name);
    }
    // What is remembered of sets and repositories that were here before.
    for (const auto& [id, set] : policy_->sets) {
        if (old->sets.contains(id)) continue;
        journal_.run([this, id = id] { return store_.set_record(id); },
                     [this, id = id](Result<SetRecord> record) {
                         if (!record.ok() || !policy_->sets.contains(id)) return;
                         sets_[id].record = *record;
                         if (listener_ != nullptr) listener_->set_changed(id);
                     });
    }
    if (begun_) track();
    for (const std::string& name : touched) {
        change_repository_record(name, nullptr, [](Result<>) {});
        probe(name);
    }
    tick_later();
    if (listener_ != nullptr) listener_->any_changed();
}

void Service::change_repository_record(const std::string& name,
                                       std::function<void(RepositoryRecord&)> change, Done done) {
    journal_.run(
        [this, name, change = std::move(change)]() -> Result<RepositoryRecord> {
            RepositoryRecord record = TRY(store_.repository_record(name));
            if (change) {
                change(record);
                TRY(store_.put_repository_record(name, record));
            }
            return record;
        },
        [this, name, done = std::move(done)](Result<RepositoryRecord> record) {
            if (!record.ok()) return done(std::move(record).error());
            if (policy_->repositories.contains(name)) {
                repositories_[name].record = std::move(*record);
                if (listener_ != nullptr) {
                    listener_->repository_changed(name);
                    listener_->any_changed();
                }
            }
            done({});
        });
}

void Service::job_added(const Job& job) {
    if (job.record().kind == "backup") {
        sets_[job.record().set].record.last_attempt = job.record().begin;
        if (listener_ != nullptr) listener_->set_changed(job.record().set);
    }
    if (listener_ == nullptr) return;
    listener_->job_added(job);
    listener_->any_changed();
}

void Service::job_changed(const Job& job) {
    if (listener_ == nullptr) return;
    listener_->job_changed(job);
    if (job.record().kind == "backup") listener_->set_changed(job.record().set);
    listener_->any_changed();
}

void Service::job_finished(const Job& job) {
    const JobRecord& record = job.record();
    bool made_revision =
        record.kind == "backup" && (record.outcome == "complete" || record.outcome == "exceptions");
    if (record.kind == "backup") {
        SetRecord& known = sets_[record.set].record;
        known.last_result = record.outcome;
        if (made_revision) {
            known.last_success = *record.end;
            known.protected_until = record.begin;
            known.latest_revision = record.revision;
            known.last_number = std::max(known.last_number, job.number());
            ++sets_[record.set].revision_count;
        }
    }
    if (record.kind == "forget" || record.kind == "gc") refresh_repository(record.repository);
    if (record.kind == "check" || record.kind == "verify" || record.kind == "gc")
        change_repository_record(record.repository, nullptr, [](Result<>) {});
    if (listener_ != nullptr) {
        if (record.kind == "backup") listener_->set_changed(record.set);
        if (made_revision) listener_->revision_committed(record.set, record.revision, job);
        listener_->job_finished(job);
        listener_->any_changed();
    }
    tick_later();
}

// Not later than was asked for already.
void Service::tick_later() {
    if (begun_ && !tick_soon_) tick_.start(std::chrono::seconds(1));
}

// Memory is given back some time after use, not right after it: the next run may follow at once.
void Service::rest() {
    if (runner_.active() > 0) return rest_.start(kRestAfter);
    io_.run([this] { pool_.rest(); });
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

void Service::job_removed(const Job& job) {
    if (listener_ != nullptr) listener_->job_removed(job);
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
        if (!due || runner_.active_backup(id) != nullptr) continue;
        if (*due > now) {
            wake = std::min(wake, *due);
            continue;
        }
        // A run that cannot be begun is asked for again an interval later, not at once.
        sets_[id].record.last_attempt = now;
        start_backup(id, false, trigger, 0, [this, id = id](Result<const Job*> job) {
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

}  // namespace backup
