// Service is what the daemon knows and does, without the bus: the policy in force, what is known of
// sets and repositories, the jobs. Loop thread only; everything slow goes to its executors and
// comes back by callback.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/jobs/configuration.h"
#include "daemon/jobs/event_log.h"
#include "daemon/jobs/guard_book.h"
#include "daemon/jobs/health.h"
#include "daemon/jobs/history_keeper.h"
#include "daemon/jobs/hold_book.h"
#include "daemon/jobs/job_runner.h"
#include "daemon/jobs/metrics.h"
#include "daemon/jobs/probe_times.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/jobs/tracking_host.h"
#include "daemon/jobs/waiting_book.h"
#include "daemon/runtime/executor.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/precedence.h"
#include "daemon/runtime/wall_timer.h"
#include "daemon/schedule/scheduler.h"

namespace backup {

struct ServiceOptions {
    std::string config_dir, vendor_dir, state_dir;
    std::string credentials_dir;
    bool hide_details = false;  // system bus: everybody reads the notices
    bool writes_apart = false;  // system bus: what is given back is written by another process
    // See TrackerOptions.
    std::function<UniqueFd(const std::string& name)> inherit;
    std::function<void(const std::string& name, int fd)> keep;
    std::function<void(const std::string& name)> forget;
    // Told when the first job begins and the last one ends; and whether any set wants to know of
    // pressure, from which percentage on. May be empty.
    std::function<void(bool busy)> busy_changed;
    std::function<void(bool wanted, unsigned percent)> pressure_wanted;
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
    // Words; `reason`: the worst of what is not well, or empty.
    virtual void health_changed(const std::string& health, const std::string& before,
                                const std::string& reason) = 0;
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

    using Done = std::function<void(Result<>)>;

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
    // Words of BlockedBy.
    std::vector<std::string> blocked_by(const BackupSet& set) const;
    // What the schedule says of the set now; reasons with the time since when they hold.
    Verdict verdict(const BackupSet& set) const;
    // What its run waits for, due or under way.
    std::vector<Reason> waiting_reasons(const BackupSet& set) const;
    // The same for people: each condition that counts for the set, met or not.
    struct ConditionNow {
        std::string condition;
        bool is_met;
        std::string text;
        Timestamp since{};               // of one that is not met
        std::optional<Timestamp> until;  // when it will be, if that is known
    };
    std::vector<ConditionNow> explain_schedule(const BackupSet& set) const;
    std::string state() const;
    Health health() const;
    HealthReport health_report() const;
    // As Prometheus reads it.
    std::string metrics_text() const;
    const Metrics& metrics() const { return metrics_; }
    std::vector<std::string> notices() const;
    std::optional<Timestamp> next_run_of(const BackupSet& set) const;

    JobRunner& jobs() { return runner_; }
    const JobRunner& jobs() const { return runner_; }
    RepositoryPool& pool() { return pool_; }
    const Configuration& configuration() const { return configuration_; }
    EventLog& events() { return events_; }
    Rates& rates() { return *rates_; }
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
    std::string drill_folder() const { return options_.state_dir + "/drill"; }

    struct BackupStart {
        bool full = false;
        std::string trigger = "user";
        std::uint32_t uid = 0;
        Ignored ignored;  // conditions that it does not wait for, at the begin and later
        // When a condition does not allow it: it is remembered and begins as soon as all do;
        // `paused` says so. Else it begins whatever they are.
        bool may_be_put_off = false;
    };
    void start_backup(const std::string& set, const BackupStart& start,
                      std::function<void(Result<const Job*>)> started);

    // Nothing is uploaded until then, or until resume(); changes are watched meanwhile.
    void pause(std::optional<Timestamp> until, Done done);
    void resume(Done done);
    std::optional<Pause> pause_now() const { return holds_.pause_at(clock_.now()); }
    // Holds uploads up until release(); see HoldBook.
    Result<std::uint64_t> inhibit(std::string who, std::string why, std::uint32_t uid);
    void release(std::uint64_t number);
    // What was found out about the machine; `since` is filled in here.
    void host_changed(std::vector<Reason> reasons);

    struct CollectOptions {
        bool dry_run = false, apply_rules = false, empty_trash = false;
        std::vector<std::string> sets;  // whose trash; empty: of all
    };
    void start_collection(const std::string& repository, const CollectOptions& options,
                          const std::string& trigger, std::uint32_t uid,
                          std::function<void(Result<const Job*>)> started);
    void start_audit(const std::string& repository, std::uint32_t uid,
                     std::function<void(Result<const Job*>)> started);

    struct DrillOptions {
        std::vector<std::string> paths;      // absolute; none: files at random
        std::optional<std::uint32_t> files;  // instead of what the set's rules say
        std::optional<std::uint64_t> bytes;
    };
    void start_drill(const std::string& set, const DrillOptions& options,
                     const std::string& trigger, std::uint32_t uid,
                     std::function<void(Result<const Job*>)> started);

    void reload(Done done);
    // Changes of the configuration run one after the other: `work` on their thread, then the new
    // policy is in force, then `done`.
    void change_configuration(std::function<Result<>()> work, Done done);
    // Something in the repository's record or among its keys changed: read again what is
    // remembered.
    void change_repository_record(const std::string& name,
                                  std::function<void(RepositoryRecord&)> change, Done done);
    // Counts revisions anew, in the background, and finds sets in it where there are none (see
    // found_sets.h). `done`: whether or not it could be read.
    void refresh_repository(const std::string& name, std::function<void()> done = {});

  private:
    void job_added(const Job& job) override;
    void job_changed(const Job& job) override;
    void job_finished(const Job& job) override;
    void job_removed(const Job& job) override;

    void apply(LoadedPolicy loaded);
    bool has_own_sets() const;
    void add_found_sets(Policy& policy);
    void found(const std::string& repository, std::vector<BackupSet> sets);
    void read_records();
    void probe(const std::string& name);
    void track();
    void tracking_changed(const std::string& set);
    // A repository can be read, which it could not be, or nobody knew.
    void compare_again(const std::string& repository);
    void guard_changed(const std::string& set);
    void plan_resumes();
    RunFacts run_facts(const BackupSet& set) const;
    // What keeps the set's runs apart from its windows.
    std::vector<Reason> holds_of(const BackupSet& set, Timestamp now) const;
    WindowPlan windows_of(const BackupSet& set) const;
    Verdict decide_for(const BackupSet& set, Timestamp now) const;
    bool is_restoring() const;
    bool is_time_short(const BackupSet& set) const;

    void tick();
    void tick_later();
    void tick_now();
    void notice_sleep(Timestamp now);
    void tell_deferrals(const BackupSet& set, const Verdict& verdict, Timestamp now);
    void start_due(const BackupSet& set, const Due& due, Timestamp now);
    // Running jobs follow the conditions, too.
    void hold_or_resume(Timestamp now, Timestamp& wake);
    void set_rates(Timestamp now);
    void changed_everywhere();
    void keep_pause(Done done);
    // What waits, written when it is another thing than was.
    void keep_waiting();
    void load_waiting();
    void load_health();
    void watch_health(Timestamp& wake);
    void tell_health(const HealthReport& report);
    // Into the file that node_exporter reads, if there is one and the text is another.
    void write_metrics();
    // Whether storage that was full has room again, now and then.
    void look_for_space(Timestamp now, Timestamp& wake);
    void tell_busy();
    void tell_pressure_wanted();
    void verify_what_is_due(Timestamp now, Timestamp& wake);
    void collect_what_is_due(Timestamp now, Timestamp& wake);
    void drill_what_is_due(Timestamp now, Timestamp& wake);
    void read_drill_again(const std::string& set);
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
    std::set<std::string> parked_;              // of these: stopped in order
    std::map<std::string, AskedWait> asked_;    // by set: put off
    std::map<std::string, Ignored> ignoring_;   // by set: of the run under way
    std::map<std::string, Timestamp> full_tried_;
    HoldBook holds_;
    Deferrals deferrals_;
    std::string waiting_written_;
    std::optional<MonotonicTime> restored_at_;  // reasons of the daemon before
    std::vector<Reason> host_;                  // conditions of the machine that are not met
    std::map<std::string, std::vector<BackupSet>> found_;  // by repository, see found_sets.h
    std::map<std::string, std::vector<Reason>> held_;      // by set: why its job is paused
    std::set<std::string> escalated_;  // sets whose runs are put off for too long
    std::shared_ptr<const Zone> zone_ = Zone::local();
    Timestamp awake_since_{};
    // Of the last tick: a wall clock that went on while the other stood still was asleep.
    std::optional<std::pair<Timestamp, MonotonicTime>> last_tick_;
    std::shared_ptr<Rates> rates_;
    WallTimer tick_;
    Timer rest_;
    struct Full {
        Timestamp since{}, looked{};
        bool is_looking = false;
    };
    std::map<std::string, Full> full_;  // by repository: a run found no room there
    bool told_busy_ = false;
    Metrics metrics_;
    std::string metrics_written_;
    Timer metrics_timer_;
    Health told_health_ = Health::unknown;
    std::optional<std::pair<Health, MonotonicTime>> new_health_;  // not told yet, and since when
    std::map<std::string, Timestamp> verify_tried_;               // by repository
    std::map<std::string, Timestamp> drill_tried_;                // by set
    bool begun_ = false;
    bool tick_soon_ = false;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    Precedence precedence_;
    RepositoryPool pool_;
    GuardBook guards_;
    std::map<std::string, GuardRecord> guards_told_;
    HistoryKeeper history_;
    ProbeTimes probes_;  // of repositories that could not be reached
    TrackingHost tracking_host_;
    std::unique_ptr<Tracker> tracker_;  // after the jobs that use it
    // Destroyed in this order, the last first: jobs, then the threads that serve them.
    Executor journal_, config_, commands_, io_;
    JobRunner runner_;
};

}  // namespace backup
