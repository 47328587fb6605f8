// Job is one run of something: what it is, how far it is, how it ended. The Job object belongs to
// the loop thread; its body runs on a thread of its own and sees only its JobContext.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "common/result.h"
#include "daemon/backend/rates.h"
#include "daemon/runtime/progress.h"
#include "daemon/state/state_store.h"

namespace backup {

enum class JobState : std::uint8_t { queued, waiting, running, paused, cancelling, done };
const char* to_string(JobState state);

// What the body tells when it is over. No error and no exceptions: complete.
struct JobOutcome {
    std::optional<Error> error;
    std::string revision;  // made or read, hex
    std::string parent;
    std::uint64_t number = 0;                                   // of the revision made
    std::vector<std::pair<std::string, std::uint64_t>> counts;  // words of the bus: "files-new"
    std::vector<JobLine> findings;
    // Of one that is done: that a limit of the policy left something out. It is no failure, and has
    // the error's name all the same.
    std::optional<Error> limited;
};
JobOutcome failed(Error error);

struct JobContext {
    std::uint64_t id;
    Progress& progress;
    ExceptionLog& exceptions;
    std::stop_token stop;
    // Goes to the log and to the job's lines; any thread. No file names.
    std::function<void(LogLevel, std::string)> message;
};
using JobBody = std::function<JobOutcome(JobContext&)>;

struct JobRequest {
    std::string kind;  // backup restore export verify check
    std::string set, repository;
    std::string trigger = "user", mode, parent, revision;
    std::uint32_t uid = 0;
    // While a job with the same key has work to do it is returned instead of a new one. Empty:
    // always a new one.
    std::string unique;
    // Writes to the repository: only one such job per repository runs, others queue. Readers run
    // beside.
    bool writes = false;
    // What it uploads goes through here. None: it cannot be held.
    std::shared_ptr<Rates::Gate> gate;
    JobBody body;
    // On the journal's thread, right after the end record: what else must be remembered. `number`:
    // of the revision made.
    std::function<void(StateStore&, const JobRecord&, std::uint64_t number)> remember;
};

class Job {
  public:
    Job(JobRecord record, JobRequest request)
        : record_(std::move(record)), request_(std::move(request)) {}

    std::uint64_t id() const { return record_.id; }
    const JobRecord& record() const { return record_; }
    JobState state() const { return state_; }
    bool is_done() const { return state_ == JobState::done; }
    const Progress& progress() const { return *progress_; }
    // Done jobs have theirs in the state store.
    std::shared_ptr<const ExceptionLog> exceptions() const { return exceptions_; }
    std::uint64_t rate() const { return static_cast<std::uint64_t>(rate_); }
    std::optional<Timestamp> expected_end() const { return expected_end_; }
    double seconds() const;
    std::uint64_t number() const { return number_; }

    // Why and since when nothing of it is uploaded.
    const std::string& held_for() const { return held_for_; }
    std::optional<MonotonicTime> held_since() const { return held_since_; }
    bool can_be_held() const { return request_.gate != nullptr; }
    // It was ended in order, to be taken up later.
    bool was_parked() const { return was_parked_; }
    // From the begin of its body to the first byte that it gave back.
    std::optional<Duration> first_byte() const {
        const std::uint64_t usec = progress_->first_byte_usec.load(std::memory_order_relaxed);
        if (usec == 0 || from_usec(usec) < launched_) return std::nullopt;
        return from_usec(usec) - launched_;
    }

    // Since when nothing moved, once that has been for long; nothing: it goes on.
    std::optional<Timestamp> stalled_since() const { return stalled_since_; }

    // Smooths the rate and guesses the end from two samples; twice a second while it runs. True:
    // nothing has moved for `stall_after` with this sample.
    bool sample(Timestamp now, MonotonicTime at, Duration stall_after = std::chrono::minutes(10));

  private:
    friend class JobRunner;

    JobRecord record_;
    JobRequest request_;
    JobState state_ = JobState::queued;
    bool body_returned_ = false;
    std::uint64_t number_ = 0;
    std::string held_for_;
    std::optional<MonotonicTime> held_since_;
    bool was_parked_ = false;
    std::optional<MonotonicTime> cancelled_at_;
    Timestamp launched_{};  // by the machine's own clock, as is progress_->first_byte_usec
    // Shared with readers of reports, who may outlive the job object.
    std::shared_ptr<Progress> progress_ = std::make_shared<Progress>();
    std::shared_ptr<ExceptionLog> exceptions_ = std::make_shared<ExceptionLog>(*progress_);
    std::jthread thread_;
    std::stop_source stop_;

    double rate_ = 0;
    std::uint64_t last_bytes_ = 0;
    std::optional<MonotonicTime> last_sample_;
    std::optional<Timestamp> expected_end_;
    // What moved last, and when.
    std::tuple<Phase, std::uint64_t, std::uint64_t, std::uint64_t> moved_{};
    std::optional<MonotonicTime> moved_at_;
    Timestamp moved_time_{};
    std::optional<Timestamp> stalled_since_;
};

}  // namespace backup
