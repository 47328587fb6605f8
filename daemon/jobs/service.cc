#include "daemon/jobs/service.h"

#include <algorithm>
#include <set>

#include "daemon/jobs/catalog.h"
#include "daemon/jobs/checkpoints.h"
#include "daemon/jobs/drill_task.h"
#include "daemon/jobs/found_sets.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/jobs/tasks.h"
#include "daemon/jobs/undo_book.h"
#include "daemon/writer/writer_process.h"

namespace backup {

namespace {

constexpr unsigned kIoThreads = 4;
constexpr Duration kRestAfter = std::chrono::seconds(30);
constexpr std::size_t kShownAfterRestart = 64;

struct RepositoryView {
    std::map<std::string, SetStatus> sets;  // count and latest only
    std::vector<BackupSet> found;
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
      rates_(std::make_shared<Rates>(clock)),
      tick_(loop, [this] { tick(); }),
      pool_(
          clock, store, {options_.config_dir, options_.credentials_dir},
          [this](const std::string& name) {
              loop_.post([this, name, alive = std::weak_ptr<int>(alive_)] {
                  if (alive.expired()) return;
                  const RepositoryState before = repositories_[name].status.state;
                  repositories_[name].status = pool_.status(name);
                  if (before != RepositoryState::ready &&
                      pool_.status(name).state == RepositoryState::ready)
                      compare_again(name);
                  if (listener_ == nullptr) return;
                  listener_->repository_changed(name);
                  for (const auto& [id, set] : policy_->sets)
                      if (set.repository == name) listener_->set_changed(id);
                  listener_->any_changed();
              });
          },
          &open_backend, options_.state_dir + "/index"),
      guards_(store,
              [this](const std::string& set) {
                  loop_.post([this, set, alive = std::weak_ptr<int>(alive_)] {
                      if (!alive.expired()) guard_changed(set);
                  });
              }),
      history_(pool_, store, events, options_.state_dir + "/history"),
      tracking_host_(loop, pool_, events,
                     [this](const std::string& set) { tracking_changed(set); }),
      journal_(loop, "journal", 1),
      config_(loop, "config", 1),
      commands_(loop, "command", 1),
      io_(loop, "io", kIoThreads),
      runner_(loop, store, journal_, events, clock) {
    runner_.set_listener(this);
    rest_ = loop_.timer([this] { rest(); });
    metrics_timer_ = loop_.timer([this] { write_metrics(); });
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
    load_health();
    load_waiting();
    if (auto pause = read_pause(options_.state_dir + "/pause")) holds_.pause(*pause);
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
        std::string kept;
        if (auto left = store_.checkpoint(record.set);
            record.kind == "backup" && left.ok() && *left && (*left)->job == record.id)
            kept = kept_text(**left);
        if (record.kind == "restore" && record.mode.empty())
            kept = "it goes on soon by itself, at once with `backupctl resume " +
                   std::to_string(record.id) + "`";
        runner_.adopt_interrupted(std::move(record), kept);
    }
    expire_undo(undo_folder(), clock_.now());
    clear_drills(drill_folder());
    plan_resumes();
}

void Service::read_records() {
    for (const auto& [id, set] : policy_->sets) {
        if (auto record = store_.set_record(id); record.ok()) sets_[id].record = *record;
        guards_.load(id);
        guards_told_[id] = guards_.of(id);
    }
    for (const auto& [name, repository] : policy_->repositories) {
        if (auto record = store_.repository_record(name); record.ok())
            repositories_[name].record = *record;
        repositories_[name].status = pool_.status(name);
    }
}

void Service::begin() {
    begun_ = true;
    awake_since_ = clock_.now();
    track();
    history_.set_policy(policy_);
    for (const auto& [name, repository] : policy_->repositories) probe(name);
    tick_.start(std::chrono::seconds(1));
    write_metrics();
    tell_pressure_wanted();
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
        if (options_.writes_apart)
            options.touch = [](const std::string& directory) {
                return writer::touch_as_root(writer::writer_program(), directory);
            };
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

void Service::compare_again(const std::string& repository) {
    if (tracker_ == nullptr) return;
    for (const auto& [id, set] : policy_->sets)
        if (set.repository == repository) tracker_->repository_returned(id);
}

// Opening early shows a missing password before the first backup is due, and removes locks of a
// daemon that died.
void Service::probe(const std::string& name) {
    if (begun_) refresh_repository(name);
}

void Service::refresh_repository(const std::string& name, std::function<void()> done) {
    bool measure = pool_.status(name).used_bytes == 0;
    std::set<std::string> taken;
    for (const auto& [repository, sets] : found_)
        for (const BackupSet& set : sets)
            if (repository != name) taken.insert(set.id);
    io_.run(
        [this, name, measure, policy = policy_, may_find = !has_own_sets(),
         taken = std::move(taken)]() -> Result<RepositoryView> {
            RepositoryHandle opened = TRY(pool_.open(name));
            std::vector<Revision> revisions =
                all_revisions(TRY(opened->repository->list_revisions()));
            RepositoryView view;
            for (const auto& [id, set] : policy->sets) {
                if (set.repository != name) continue;
                SetOnHost on_host = line_of(set);
                SetStatus& status = view.sets[id];
                for (const Revision& revision : revisions) {
                    if (!belongs_to(revision, on_host) || revision.is_trashed()) continue;
                    if (status.revision_count++ == 0)
                        status.record.latest_revision = revision.id().hex();
                }
            }
            if (may_find) view.found = found_sets(revisions, name, own_identity().hostname, taken);
            if (measure) view.used_bytes = pack_bytes(*opened->storage.backend);
            return view;
        },
        [this, name, done = std::move(done)](Result<RepositoryView> view) {
            const std::shared_ptr<void> at_end(nullptr, [&done](void*) {
                if (done) done();
            });
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
            history_.poke();
            if (view->used_bytes) pool_.set_used_bytes(name, *view->used_bytes);
            found(name, std::move(view->found));
            for (auto& [id, status] : view->sets) {
                sets_[id].revision_count = status.revision_count;
                sets_[id].record.latest_revision = status.record.latest_revision;
                if (listener_ != nullptr) listener_->set_changed(id);
            }
        });
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
    add_found_sets(loaded.policy);
    auto old = std::exchange(policy_, std::make_shared<Policy>(std::move(loaded.policy)));
    pool_.set_policies(policy_->repositories);
    zone_ = Zone::local();
    if (begun_) {
        write_metrics();
        tell_pressure_wanted();
    }
    set_rates(clock_.now());
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
        deferrals_.forget(id);
        escalated_.erase(id);
        asked_.erase(id);
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
        journal_.run(
            [this, id = id] {
                guards_.load(id);
                return store_.set_record(id);
            },
            [this, id = id](Result<SetRecord> record) {
                if (!record.ok() || !policy_->sets.contains(id)) return;
                sets_[id].record = *record;
                if (listener_ != nullptr) listener_->set_changed(id);
            });
    }
    if (begun_) {
        track();
        history_.set_policy(policy_);
    }
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
    history_.give_way(true);
    tell_busy();
    if (job.record().kind == "backup") {
        sets_[job.record().set].record.last_attempt = job.record().begin;
        resumes_.erase(job.record().set);
        parked_.erase(job.record().set);
        asked_.erase(job.record().set);
        if (listener_ != nullptr) listener_->set_changed(job.record().set);
    }
    if (job.record().kind == "restore") tick_now();
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
        note_limits(known, record);
        if (const auto renewed = churn_renewal(known); made_revision && renewed)
            resumes_[record.set] = *renewed;
        ignoring_.erase(record.set);
        held_.erase(record.set);
        if (record.error_name == to_string(ErrorCode::no_space) &&
            !full_.contains(record.repository))
            full_[record.repository] = {clock_.now(), clock_.now(), false};
        if (made_revision) full_.erase(record.repository);
        if (record.outcome == "interrupted" && job.was_parked()) {
            resumes_[record.set] = clock_.now();
            parked_.insert(record.set);
        }
        if (made_revision) {
            known.last_success = *record.end;
            known.protected_until = record.begin;
            known.latest_revision = record.revision;
            known.last_number = std::max(known.last_number, job.number());
            note_full(known, record);
            if (known.drills_since == Timestamp{}) known.drills_since = *record.end;
            ++sets_[record.set].revision_count;
        }
    }
    metrics_.job_ended(record, job.first_byte());
    write_metrics();
    if (record.kind == "restore") tick_now();
    if (record.kind == "forget" || record.kind == "gc") refresh_repository(record.repository);
    if (made_revision) history_.poke();
    history_.give_way(runner_.active() > 0);
    tell_busy();
    if (record.kind == "drill") read_drill_again(record.set);
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

void Service::job_removed(const Job& job) {
    if (listener_ != nullptr) listener_->job_removed(job);
}

}  // namespace backup
