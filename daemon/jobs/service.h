// Service is what the daemon knows and does, without the bus: the policy in force, what is known of
// sets and repositories, the jobs. Loop thread only; everything slow goes to its executors and
// comes back by callback.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/jobs/configuration.h"
#include "daemon/jobs/event_log.h"
#include "daemon/jobs/guard_book.h"
#include "daemon/jobs/health.h"
#include "daemon/jobs/history_keeper.h"
#include "daemon/jobs/job_runner.h"
#include "daemon/jobs/probe_times.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/jobs/tracking_host.h"
#include "daemon/runtime/executor.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/precedence.h"

namespace backup {

struct ServiceOptions {
    std::string config_dir, vendor_dir, state_dir;
    std::string credentials_dir;
    bool hide_details = false;  // system bus: everybody reads the notices
    // See TrackerOptions.
    std::function<UniqueFd(const std::string& name)> inherit;
    std::function<void(const std::string& name, int fd)> keep;
    std::function<void(const std::string& name)> forget;
};

// Jobs are told as JobListener says. Changes of the manager's own values are told by any_changed().
class ServiceListener : public JobListener {
  public:
    virtual void set_added(const std::string& id) = 0;
    virtual void set_removed(const std::string& id) = 0;
    virtual void set_changed(const std::string& id) = 0;
    virtual void repository_added(const std::string& name) = 0;
    virtual void repository_removed(const std::string& name) = 0;
    virtual void repository_changed(const std::string& name) = 0;
    virtual void any_changed() = 0;
    // `kind`: see GuardQuestion.
    virtual void guard_asked(const std::string& set, const std::string& kind) = 0;
    virtual void revision_committed(const std::string& set, const std::string& revision,
                                    const Job& job) = 0;
};

class Service final : private JobListener {
  public:
    Service(Loop& loop, StateStore& store, const Clock& clock, EventLog& events,
            ServiceOptions options);
    ~Service();

    // Reads the configuration and what is remembered, ends the jobs of a daemon that died; blocks.
    // Before the loop runs.
    void load();
    // Opens the repositories in the background and starts what is due. When the bus name is ours.
    void begin();
    void set_listener(ServiceListener* listener) { listener_ = listener; }

    const Policy& policy() const { return *policy_; }
    std::shared_ptr<const Policy> shared_policy() const { return policy_; }
    const std::vector<ConfigProblem>& problems() const { return problems_; }
    Result<const BackupSet*> find_set(const std::string& id) const;
    SetStatus set_status(const std::string& id) const;
    RepositoryFacts repository_facts(const std::string& name) const;
    std::string set_state(const BackupSet& set) const;
    // What is asked about the set, and the answer to it: approve, or reject. An approved source is
    // backed up at once: then `done` is given the job, else nullptr.
    GuardRecord guard(const std::string& id) const { return guards_.of(id); }
    const GuardBook& guards() const { return guards_; }
    void answer_guard(const std::string& id, bool approve, std::uint32_t uid,
                      std::function<void(Result<const Job*>)> done);
    // Why no rule may forget a revision of the set now: a source is missing, or something is asked
    // about it. Empty: they may.
    std::string frozen(const BackupSet& set) const;
    std::vector<std::string> blocked_by(const BackupSet& set) const;
    std::string state() const;
    Health health() const;
    std::vector<std::string> notices() const;
    std::optional<Timestamp> next_run_of(const BackupSet& set) const;

    JobRunner& jobs() { return runner_; }
    const JobRunner& jobs() const { return runner_; }
    RepositoryPool& pool() { return pool_; }
    const Configuration& configuration() const { return configuration_; }
    EventLog& events() { return events_; }
    // nullptr before begin().
    Tracker* tracker() { return tracker_.get(); }
    const Tracker* tracker() const { return tracker_.get(); }
    HistoryKeeper& history() { return history_; }
    StateStore& store() { return store_; }
    const Clock& clock() const { return clock_; }
    Loop& loop() { return loop_; }
    Executor& io() { return io_; }
    SecretPlaces secret_places() const;
    const std::string& state_dir() const { return options_.state_dir; }
    // Held by restores; backups give way.
    Precedence& precedence() { return precedence_; }
    std::string undo_folder() const { return options_.state_dir + "/undo"; }

    void start_backup(const std::string& set, bool full, const std::string& trigger,
                      std::uint32_t uid, std::function<void(Result<const Job*>)> started);

    struct CollectOptions {
        bool dry_run = false, apply_rules = false, empty_trash = false;
        std::vector<std::string> sets;  // whose trash; empty: of all
    };
    void start_collection(const std::string& repository, const CollectOptions& options,
                          const std::string& trigger, std::uint32_t uid,
                          std::function<void(Result<const Job*>)> started);
    void start_audit(const std::string& repository, std::uint32_t uid,
                     std::function<void(Result<const Job*>)> started);

    using Done = std::function<void(Result<>)>;
    void reload(Done done);
    // Changes of the configuration run one after the other: `work` on their thread, then the new
    // policy is in force, then `done`.
    void change_configuration(std::function<Result<>()> work, Done done);
    // Something in the repository's record or among its keys changed: read again what is
    // remembered.
    void change_repository_record(const std::string& name,
                                  std::function<void(RepositoryRecord&)> change, Done done);
    // Counts revisions anew, in the background.
    void refresh_repository(const std::string& name);

  private:
    void job_added(const Job& job) override;
    void job_changed(const Job& job) override;
    void job_finished(const Job& job) override;
    void job_removed(const Job& job) override;

    void apply(LoadedPolicy loaded);
    void read_records();
    void probe(const std::string& name);
    void track();
    void tracking_changed(const std::string& set);
    // A repository can be read, which it could not be, or nobody knew.
    void compare_again(const std::string& repository);
    void guard_changed(const std::string& set);
    void plan_resumes();
    // When the set is taken up again on its own, or nothing.
    std::optional<Timestamp> resume_due(const BackupSet& set) const;
    std::optional<Timestamp> change_due(const BackupSet& set, const SetRecord& record,
                                        Timestamp now) const;
    void tick();
    std::optional<Timestamp> reconcile_due(const BackupSet& set, const SetRecord& record,
                                           Timestamp now) const;
    void tick_later();
    void collect_what_is_due(Timestamp now, Timestamp& wake);
    void rest();

    Loop& loop_;
    StateStore& store_;
    const Clock& clock_;
    EventLog& events_;
    const ServiceOptions options_;
    ServiceListener* listener_ = nullptr;
    Configuration configuration_;
    std::shared_ptr<const Policy> policy_ = std::make_shared<Policy>();
    std::vector<ConfigProblem> problems_;
    SetStatuses sets_;
    RepositoryStatuses repositories_;
    std::map<std::string, Timestamp> resumes_;  // by set: when an interrupted run is taken up
    Timer tick_, rest_;
    bool begun_ = false;
    bool tick_soon_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    Precedence precedence_;
    RepositoryPool pool_;
    GuardBook guards_;
    std::map<std::string, GuardRecord> guards_told_;
    HistoryKeeper history_;
    std::map<std::string, Timestamp> full_tried_;
    ProbeTimes probes_;  // of repositories that could not be reached
    TrackingHost tracking_host_;
    std::unique_ptr<Tracker> tracker_;  // after the jobs that use it
    // Destroyed in this order, the last first: jobs, then the threads that serve them.
    Executor journal_, config_, io_;
    JobRunner runner_;
};

}  // namespace backup
