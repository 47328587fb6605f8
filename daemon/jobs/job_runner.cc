#include "daemon/jobs/job_runner.h"

#include <algorithm>

#include <malloc.h>
#include <pthread.h>

#include "common/wire.h"

namespace backup {

namespace {

constexpr Duration kStoreAfterCancel = std::chrono::seconds(5);

Error stopping() {
    return Error(ErrorKind::cancelled, ErrorCode::shutting_down, "the daemon is stopping");
}

// What a large job leaves in the heap would stand below the peak of the next one. A small job
// leaves little, and does not wait for this.
void return_free_memory() {
    constexpr std::size_t kWorthIt = std::size_t{8} << 20;
    if (::mallinfo2().fordblks > kWorthIt) ::malloc_trim(0);
}

std::string outcome_word(const JobOutcome& outcome, std::uint64_t exceptions, bool is_to_go_on) {
    if (!outcome.error) return exceptions > 0 ? "exceptions" : "complete";
    if (outcome.error->kind() == ErrorKind::cancelled)
        return is_to_go_on ? "interrupted" : "cancelled";
    return "failed";
}

std::vector<JobLine> lines_of(const ExceptionLog& exceptions, Timestamp now,
                              std::vector<JobLine> findings) {
    std::vector<JobLine> lines = std::move(findings);
    for (const Exception& exception : exceptions.list())
        lines.push_back({now, "exception", "warning", exception.path,
                         std::string(to_string(exception.error.kind())),
                         exception.error.message()});
    return lines;
}

}  // namespace

JobRunner::JobRunner(Loop& loop, StateStore& store, Executor& journal, EventLog& events,
                     const Clock& clock, JobRunnerOptions options)
    : loop_(loop),
      store_(store),
      journal_(journal),
      events_(events),
      clock_(clock),
      options_(options) {
    sampler_ = loop_.timer([this] { sample(); });
    expiry_ = loop_.timer([this] { expire(); });
}

JobRunner::~JobRunner() {
    for (auto& [id, job] : jobs_) {
        job->stop_.request_stop();
        if (job->request_.gate) job->request_.gate->let_go();
    }
    jobs_.clear();  // joins
}

void JobRunner::start(JobRequest request, std::function<void(Result<const Job*>)> started) {
    if (shutting_down_) return started(stopping());
    if (!request.unique.empty()) {
        for (auto& [id, job] : jobs_)
            if (job->request_.unique == request.unique && !job->body_returned_ && !job->is_done())
                return started(job.get());
        auto& waiting = starting_[request.unique];
        waiting.push_back(std::move(started));
        if (waiting.size() > 1) return;  // the first one's begin record is on its way
    }
    JobRecord record;
    record.kind = request.kind;
    record.set = request.set;
    record.repository = request.repository;
    record.trigger = request.trigger;
    record.mode = request.mode;
    record.uid = request.uid;
    record.parent = request.parent;
    record.revision = request.revision;
    record.begin = clock_.now();
    ++begins_pending_;
    auto answer = [this, unique = request.unique,
                   started = std::move(started)](const Result<const Job*>& result) {
        if (unique.empty()) return started(result);
        auto node = starting_.extract(unique);
        for (auto& waiting : node.mapped()) waiting(result);
    };
    journal_.run([this, record] { return store_.begin_job(record); },
                 [this, record, request = std::move(request),
                  answer = std::move(answer)](Result<std::uint64_t> id) mutable {
                     --begins_pending_;
                     if (!id.ok()) {
                         events_.add(LogLevel::error,
                                     "cannot record the begin of a job: " + id.error().message());
                         answer(std::move(id).error().during("record the begin of the job"));
                         return check_shut_down();
                     }
                     record.id = *id;
                     auto made = std::make_unique<Job>(std::move(record), std::move(request));
                     Job& job = *made;
                     jobs_.emplace(job.id(), std::move(made));
                     if (may_run(job)) job.state_ = JobState::running;
                     if (listener_ != nullptr) listener_->job_added(job);
                     if (shutting_down_) {
                         job.body_returned_ = true;
                         write_end(job, {.error = stopping()}, {});
                     } else if (job.state_ == JobState::running) {
                         launch(job);
                     }
                     answer(&job);
                 });
}

bool JobRunner::may_run(const Job& job) const {
    if (!job.request_.writes) return true;
    return std::ranges::none_of(jobs_, [&](const auto& entry) {
        const Job& other = *entry.second;
        return &other != &job && other.request_.writes && !other.is_done() &&
               other.record_.repository == job.record_.repository &&
               (other.state_ != JobState::queued || other.id() < job.id());
    });
}

void JobRunner::launch(Job& job) {
    job.launched_ = std::chrono::system_clock::now();
    job.state_ = job.held_since_ ? JobState::paused : JobState::running;
    if (!sampler_.is_running()) sampler_.start(options_.sample_period, options_.sample_period);
    // The thread keeps what it uses; the Job outlives it, for its destructor joins.
    job.thread_ = std::jthread([this, id = job.id(), body = std::move(job.request_.body),
                                kind = job.request_.kind, progress = job.progress_,
                                exceptions = job.exceptions_,
                                stop = job.stop_.get_token()]() mutable {
        pthread_setname_np(pthread_self(), (kind + "-" + std::to_string(id)).substr(0, 15).c_str());
        JobContext context{id, *progress, *exceptions, stop,
                           [this, id](LogLevel level, std::string text) {
                               events_.add(level, text, id);
                               loop_.post([this, id, level, text = std::move(text),
                                           alive = std::weak_ptr<int>(alive_)]() mutable {
                                   if (!alive.expired()) note(id, level, std::move(text));
                               });
                           }};
        JobOutcome outcome;
        if (stop.stop_requested())
            outcome.error = Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        else
            outcome = body(context);
        // The body goes home, too: what it holds belongs to the loop thread.
        loop_.post([this, id, outcome = std::move(outcome), body = std::move(body),
                    alive = std::weak_ptr<int>(alive_)]() mutable {
            if (!alive.expired()) body_returned(id, std::move(outcome));
        });
        return_free_memory();
    });
}

void JobRunner::note(std::uint64_t id, LogLevel level, std::string message) {
    JobLine line{clock_.now(), "message", to_string(level), "", "", std::move(message)};
    journal_.run([this, id, line = std::move(line)] {
        if (auto added = store_.append_lines(id, {line}); !added.ok())
            log_warning("cannot keep a message of job " + std::to_string(id) + ": " +
                        added.error().message());
    });
}

void JobRunner::body_returned(std::uint64_t id, JobOutcome outcome) {
    Job* job = find_job(id);
    if (job == nullptr || job->body_returned_) return;
    job->body_returned_ = true;
    job->thread_.join();
    std::vector<JobLine> lines =
        lines_of(*job->exceptions_, clock_.now(), std::move(outcome.findings));
    write_end(*job, std::move(outcome), std::move(lines));
}

void JobRunner::write_end(Job& job, JobOutcome outcome, std::vector<JobLine> lines) {
    JobRecord& record = job.record_;
    record.end = clock_.now();
    record.exceptions = job.exceptions_->count();
    record.outcome = outcome_word(outcome, record.exceptions, shutting_down_ || job.was_parked_);
    if (job.was_parked_ && outcome.error && outcome.error->kind() == ErrorKind::cancelled)
        outcome.error = Error(ErrorKind::cancelled, ErrorCode::paused,
                              "it goes on when it may: " + job.held_for_);
    if (outcome.error) {
        record.error_name = wire::short_error_name(*outcome.error);
        record.message = outcome.error->message();
    }
    if (!outcome.error && outcome.limited) {
        record.error_name = wire::short_error_name(*outcome.limited);
        record.message = outcome.limited->message();
    }
    if (!outcome.revision.empty()) record.revision = std::move(outcome.revision);
    if (!outcome.parent.empty()) record.parent = std::move(outcome.parent);
    record.counts = std::move(outcome.counts);
    job.number_ = outcome.number;
    std::string summary = record.kind + " " +
                          (record.set.empty() ? record.repository : record.set) + ": " +
                          record.outcome;
    if (outcome.error && record.outcome == "failed") summary += " (" + record.error_name + ")";
    LogLevel level = record.outcome == "failed"       ? LogLevel::error
                     : record.outcome == "exceptions" ? LogLevel::warning
                                                      : LogLevel::info;
    events_.add(level, summary, job.id());
    lines.push_back({*record.end, "message", to_string(level), "", "",
                     record.message.empty() ? summary : summary + ": " + record.message});
    journal_.run(
        [this, record, lines = std::move(lines), number = job.number_,
         remember = std::move(job.request_.remember)] {
            if (auto added = store_.append_lines(record.id, lines); !added.ok())
                log_warning("cannot keep the report of job " + std::to_string(record.id) + ": " +
                            added.error().message());
            // Not synced by itself: it is as durable as the end of the job, which follows.
            if (remember) remember(store_, record, number);
            if (auto done = store_.end_job(record); !done.ok())
                log_error("cannot record the end of job " + std::to_string(record.id) + ": " +
                          done.error().message());
            if (record.id % 64 == 0) (void)store_.trim_jobs(options_.keep_records);
        },
        [this, id = record.id] { ended(id); });
}

void JobRunner::ended(std::uint64_t id) {
    Job* job = find_job(id);
    if (job == nullptr) return;
    job->state_ = JobState::done;
    job->expected_end_.reset();
    job->exceptions_.reset();  // in the store now
    if (listener_ != nullptr) listener_->job_finished(*job);
    launch_queued();
    expire();
    check_shut_down();
}

void JobRunner::launch_queued() {
    if (shutting_down_) return;
    for (auto& [id, job] : jobs_) {
        if (job->state_ != JobState::queued || job->body_returned_ || !may_run(*job)) continue;
        launch(*job);
        if (listener_ != nullptr) listener_->job_changed(*job);
    }
}

Result<> JobRunner::cancel(std::uint64_t id) {
    Job* job = find_job(id);
    if (job == nullptr)
        return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                     "there is no job " + std::to_string(id));
    if (job->is_done() || job->body_returned_) return {};
    job->stop_.request_stop();
    // Or it would wait for the gate to open before it ends.
    if (job->held_since_) job->request_.gate->let_go();
    if (!job->cancelled_at_) job->cancelled_at_ = clock_.monotonic();
    if (job->state_ == JobState::queued) {
        job->state_ = JobState::cancelling;
        job->body_returned_ = true;
        write_end(*job, {.error = Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled")},
                  {});
    } else {
        job->state_ = JobState::cancelling;
    }
    if (listener_ != nullptr) listener_->job_changed(*job);
    return {};
}

void JobRunner::hold(std::uint64_t id, const std::string& why) {
    Job* job = find_job(id);
    if (job == nullptr || job->is_done() || job->body_returned_ || !job->can_be_held()) return;
    // One that is about to end keeps what it can without sending anything.
    if (job->state_ == JobState::cancelling) return job->request_.gate->let_go();
    job->request_.gate->close();
    const bool is_news = !job->held_since_ || job->held_for_ != why;
    job->held_for_ = why;
    if (!job->held_since_) job->held_since_ = clock_.monotonic();
    if (job->state_ == JobState::running) job->state_ = JobState::paused;
    if (!is_news) return;
    const std::string text = job->record_.kind + " of " + job->record_.set + " is paused: " + why;
    events_.add(LogLevel::info, text, id);
    note(id, LogLevel::info, text);
    if (listener_ != nullptr) listener_->job_changed(*job);
}

void JobRunner::resume(std::uint64_t id) {
    Job* job = find_job(id);
    if (job == nullptr || !job->held_since_ || job->was_parked_) return;
    job->request_.gate->open();
    job->held_since_.reset();
    job->held_for_.clear();
    if (job->state_ == JobState::paused) {
        job->state_ = JobState::running;
        const std::string text = job->record_.kind + " of " + job->record_.set + " goes on";
        events_.add(LogLevel::info, text, id);
        note(id, LogLevel::info, text);
    }
    if (listener_ != nullptr) listener_->job_changed(*job);
}

void JobRunner::park(std::uint64_t id) {
    Job* job = find_job(id);
    if (job == nullptr || !job->held_since_ || job->body_returned_ ||
        job->state_ != JobState::paused)
        return;
    job->was_parked_ = true;
    (void)cancel(id);
}

void JobRunner::shut_down(std::function<void()> done) {
    shutting_down_ = true;
    shut_down_done_ = std::move(done);
    std::vector<std::uint64_t> open;
    for (auto& [id, job] : jobs_)
        if (!job->is_done()) open.push_back(id);
    for (std::uint64_t id : open) (void)cancel(id);
    check_shut_down();
}

void JobRunner::check_shut_down() {
    if (shut_down_done_ && active() == 0 && begins_pending_ == 0)
        std::exchange(shut_down_done_, nullptr)();
}

void JobRunner::abandon() {
    for (auto& [id, job] : jobs_) {
        if (job->is_done() || job->body_returned_) continue;
        JobRecord record = job->record_;
        record.end = clock_.now();
        record.outcome = "interrupted";
        record.message = "the job did not stop in time";
        (void)store_.end_job(record);
        if (job->request_.remember) job->request_.remember(store_, record, 0);
    }
}

void JobRunner::adopt_interrupted(JobRecord record, const std::string& kept) {
    record.end = clock_.now();
    record.outcome = "interrupted";
    record.message = "the daemon stopped while this job ran";
    if (!kept.empty()) record.message += "; " + kept;
    auto job = std::make_unique<Job>(record, JobRequest{.kind = record.kind});
    job->state_ = JobState::done;
    job->body_returned_ = true;
    job->exceptions_.reset();
    jobs_[record.id] = std::move(job);
    events_.add(LogLevel::warning, record.kind + " was interrupted: " + record.message, record.id);
    journal_.run([this, record] {
        if (auto done = store_.end_job(record); !done.ok())
            log_error("cannot record the end of job " + std::to_string(record.id) + ": " +
                      done.error().message());
        if (record.kind != "backup") return;
        auto set = store_.set_record(record.set);
        if (!set.ok()) return;
        set->last_attempt = record.begin;
        set->last_result = record.outcome;
        (void)store_.put_set_record(record.set, *set);
    });
    expire();
}

Job* JobRunner::find_job(std::uint64_t id) {
    auto found = jobs_.find(id);
    return found == jobs_.end() ? nullptr : found->second.get();
}

const Job* JobRunner::find(std::uint64_t id) const {
    auto found = jobs_.find(id);
    return found == jobs_.end() ? nullptr : found->second.get();
}

std::vector<const Job*> JobRunner::jobs() const {
    std::vector<const Job*> list;
    for (auto at = jobs_.rbegin(); at != jobs_.rend(); ++at) list.push_back(at->second.get());
    return list;
}

const Job* JobRunner::active_backup(const std::string& set) const {
    for (const auto& [id, job] : jobs_)
        if (!job->is_done() && job->record_.kind == "backup" && job->record_.set == set)
            return job.get();
    return nullptr;
}

std::size_t JobRunner::active() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(jobs_, [](const auto& entry) { return !entry.second->is_done(); }));
}

void JobRunner::sample() {
    bool running = false;
    const bool restores = std::ranges::any_of(jobs_, [](const auto& entry) {
        return !entry.second->is_done() && entry.second->record().kind == "restore";
    });
    for (auto& [id, job] : jobs_) {
        if (job->is_done()) continue;
        running = true;
        // What is in flight is stored first, but at a low rate that could take hours.
        if (job->cancelled_at_ && job->request_.gate &&
            clock_.monotonic() - *job->cancelled_at_ >= kStoreAfterCancel)
            job->request_.gate->let_go();
        // A backup that gives way to a restore has not stalled.
        const bool may_move =
            job->state() == JobState::running && !(restores && job->record().kind == "backup");
        if (job->sample(clock_.now(), clock_.monotonic(),
                        may_move ? options_.stall_after : Duration::max())) {
            const std::string text = job->record().kind + " has made no progress since " +
                                     format_rfc3339_utc(*job->stalled_since()) + " (" +
                                     to_string(job->progress().phase.load()) + ")";
            events_.add(LogLevel::warning, text, id);
            note(id, LogLevel::warning, text);
        }
        if (listener_ != nullptr) listener_->job_changed(*job);
    }
    if (!running) sampler_.stop();  // nothing wakes us while idle
}

void JobRunner::expire() {
    Timestamp now = clock_.now();
    std::vector<std::pair<Timestamp, std::uint64_t>> ended;  // oldest end first
    for (const auto& [id, job] : jobs_)
        if (job->is_done()) ended.emplace_back(*job->record_.end, id);
    std::ranges::sort(ended);
    std::size_t too_many =
        ended.size() > options_.most_ended ? ended.size() - options_.most_ended : 0;
    std::optional<Timestamp> next;
    for (std::size_t i = 0; i < ended.size(); ++i) {
        auto [end, id] = ended[i];
        if (i >= too_many && now < end + options_.keep_ended) {
            next = end + options_.keep_ended;
            break;
        }
        auto job = std::move(jobs_.extract(id).mapped());
        if (listener_ != nullptr) listener_->job_removed(*job);
    }
    if (next) expiry_.start(std::max<Duration>(*next - now, std::chrono::seconds(1)));
}

}  // namespace backup
