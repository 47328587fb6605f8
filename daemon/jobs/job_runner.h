// JobRunner starts, queues, cancels and ends jobs. Every job has a durable begin record before its
// body runs and exactly one end record before its end is told. Loop thread only; the journal is
// written on its own thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/jobs/event_log.h"
#include "daemon/jobs/job.h"
#include "daemon/runtime/executor.h"
#include "daemon/runtime/loop.h"
#include "daemon/state/state_store.h"

namespace backup {

// Told in this order, each of added, finished and removed once per job.
class JobListener {
  public:
    virtual ~JobListener() = default;
    virtual void job_added(const Job& job) = 0;
    virtual void job_changed(const Job& job) = 0;
    virtual void job_finished(const Job& job) = 0;
    virtual void job_removed(const Job& job) = 0;
};

struct JobRunnerOptions {
    Duration keep_ended = std::chrono::minutes(10);
    std::size_t most_ended = 64;
    Duration sample_period = std::chrono::milliseconds(500);
    std::size_t keep_records = 10'000;
    Duration stall_after = std::chrono::minutes(10);  // without any progress
};

class JobRunner {
  public:
    // `journal` must have one thread: its order is the order of the records.
    JobRunner(Loop& loop, StateStore& store, Executor& journal, EventLog& events,
              const Clock& clock, JobRunnerOptions options = {});
    ~JobRunner();  // stops and joins what still runs

    void set_listener(JobListener* listener) { listener_ = listener; }

    // `started` gets the job once its begin record is durable, or the error.
    void start(JobRequest request, std::function<void(Result<const Job*>)> started);
    // Done already is success. The end comes later.
    Result<> cancel(std::uint64_t id);
    // Nothing of it is uploaded any more until resume(); it is paused. For jobs with a gate.
    void hold(std::uint64_t id, const std::string& why);
    void resume(std::uint64_t id);
    // Ends a job that is held: as interrupted, with what it has stored kept for the one that takes
    // it up.
    void park(std::uint64_t id);
    // Stops all jobs; they end as interrupted. `done` when the last end record is written. No new
    // ones begin.
    void shut_down(std::function<void()> done);
    // For a job whose thread does not come back: writes the end records of all that still run;
    // blocks.
    void abandon();

    // A record of a daemon that died: ended as interrupted, shown like any ended job.
    // `kept`: what of its work is not lost, in words.
    void adopt_interrupted(JobRecord record, const std::string& kept = {});

    const Job* find(std::uint64_t id) const;
    std::vector<const Job*> jobs() const;  // newest first
    // The backup of a set that has not ended, if any.
    const Job* active_backup(const std::string& set) const;
    std::size_t active() const;

  private:
    Job* find_job(std::uint64_t id);
    bool may_run(const Job& job) const;
    void launch(Job& job);
    void launch_queued();
    void body_returned(std::uint64_t id, JobOutcome outcome);
    void write_end(Job& job, JobOutcome outcome, std::vector<JobLine> lines);
    void ended(std::uint64_t id);
    void note(std::uint64_t id, LogLevel level, std::string message);
    void sample();
    void expire();
    void check_shut_down();

    Loop& loop_;
    StateStore& store_;
    Executor& journal_;
    EventLog& events_;
    const Clock& clock_;
    const JobRunnerOptions options_;
    JobListener* listener_ = nullptr;
    std::map<std::uint64_t, std::unique_ptr<Job>> jobs_;
    // Callers of start() whose begin record is being written, by unique key.
    std::map<std::string, std::vector<std::function<void(Result<const Job*>)>>> starting_;
    unsigned begins_pending_ = 0;
    bool shutting_down_ = false;
    std::function<void()> shut_down_done_;
    Timer sampler_, expiry_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace backup
