// The tracker's thread and what it owns. tracker.h is the contract.
//
//   tracker_impl.cc   the thread: tasks, timers, taking from the watchers, keeping
//   volumes.cc        which file systems are watched, and by what
//   canary.cc         changes of our own that must be seen
//   scans.cc          comparing with the last revision after a start or a loss
//   scrub.cc          when the scrubber begins, and whether what it finds was missed
//   runs.cc           what a backup run must look at, and what is cleared after it
//   weighing.cc       how many bytes wait, and what of it is nothing
//   answers.cc        status, queue, pending
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "daemon/archive/reread.h"
#include "daemon/tracking/look_at_changes.h"
#include "daemon/tracking/scrub_pass.h"
#include "daemon/tracking/tracked_set.h"
#include "daemon/tracking/tracker.h"
#include "daemon/tracking/volume.h"
#include "daemon/tracking/weigh.h"
#include "daemon/watch/mount_watch.h"

namespace backup {

struct SurveyFinding;

class TrackerImpl final : public Tracker {
  public:
    TrackerImpl(TrackerHost& host, StateStore& store, const Clock& clock, TrackerOptions options);
    ~TrackerImpl() override;

    void set_policy(std::shared_ptr<const Policy> policy,
                    std::vector<std::string> own_places) override;
    void repository_returned(const std::string& set) override;
    TrackingStatus status(const std::string& set) const override;
    Result<std::vector<QueueEntry>> queue(const std::string& set, std::size_t limit) override;
    Result<std::optional<QueueEntry>> pending(const std::string& set,
                                              const std::string& path) override;
    Result<std::unique_ptr<TrackedRun>> begin_run(const std::string& set,
                                                  const std::optional<RevisionId>& parent,
                                                  bool full) override;
    void accept_absence(const std::string& set) override;
    void revision_rewritten(const std::string& set, const RevisionId& before,
                            const RevisionId& after) override;

  private:
    friend class TrackedRunImpl;

    struct SetState {
        SetState(TrackedSet set, std::uint64_t number)
            : serial(number), tracked(std::move(set)), commits(number) {}
        // Of no other one: a comparison, a run or a weighing may end when its set was defined anew,
        // or removed and made again, and then says nothing of what is tracked now.
        const std::uint64_t serial;
        TrackedSet tracked;
        std::map<std::string, VolumeId> places;  // where file systems of the set are mounted
        std::vector<Path> absent;                // where one is missing
        // What is mounted below its paths, watched or not, by place: it covers directories.
        std::map<std::string, std::string> mounted;
        std::optional<Timestamp> last_change;
        // Comparing failed: not again before this.
        MonotonicTime next_scan{};
        std::string scan_problem;
        unsigned scan_failures = 0;  // in a row
        // A comparison with all file systems there has marked all that is unproven.
        bool is_unproven_marked = false;
        bool has_base = false;      // a revision to compare with
        bool is_unwritten = false;  // the store lacks some of it: all of it must be written
        std::uint64_t commits;      // another number with each revision, of no other state
        MonotonicTime next_scrub{};
        // Stopped cleanly in this boot: with inherited descriptors nothing was missed since.
        bool may_resume = false;
        std::string mounted_at_stop;
        // inotify tells of a change through one name of a file only: the names of files with
        // several are looked at by every run. Those of this revision.
        std::string linked_of;
        std::vector<std::string> linked;
        // A name that came and went waits for nothing, but its directory has other times since: one
        // name for each such directory, which the next run looks at.
        std::map<std::pair<VolumeId, ObjectHandle>, std::string> passed;
        // A run holds it: while there is one, what the marks are relative to may become another
        // revision.
        std::weak_ptr<int> running;
        std::uint64_t runs = 0;
        struct Weighed {
            Generation generation = 0;  // of the queue, when it was weighed
            std::uint64_t bytes = 0, nothing = 0;
            bool is_partial = false;  // from a sample
            MonotonicTime next{}, next_look_back{};
            bool is_looking_back = false;
        } weighed;
        // Nothing waits, or it was weighed since the last change.
        bool is_weighed() const {
            return tracked.queue().empty() || tracked.queue().generation() == weighed.generation;
        }
    };
    // What resolves the handles of a volume.
    struct Resolving {
        std::shared_ptr<Watcher> watcher;  // nothing: scan only
        std::shared_ptr<KnownPlaces> places;
    };
    using Watchers = std::map<VolumeId, Resolving>;

    // What came and went waits again, for a run that begins or for the next start.
    void mark_passed(SetState& state);

    // ---- the thread (tracker_impl.cc)
    void run(std::stop_token stop);
    // Runs `task` on the thread and waits for it. False: the tracker is stopping.
    bool ask(const std::function<void()>& task);
    void post(std::function<void()> task);
    void drain();
    // `waiting`: until the kernel's queues were read empty.
    void drain(TrackedVolume& volume, bool waiting);
    // `watcher`: whose batch it is.
    void deliver(TrackedVolume& volume, const WatchBatch& batch, std::shared_ptr<Watcher> watcher);
    void persist();
    Result<> write(SetState& state);
    void leave_to_successor();
    static std::string text_of(const std::map<std::string, std::string>& mounted);
    void take_census();
    // Blocking, any thread: some milliseconds, more with many processes.
    static Result<CensusResult> look_around(std::shared_ptr<const std::vector<Scope>> scopes);
    void note_census(const Result<CensusResult>& census);
    void apply(std::shared_ptr<const Policy> policy, std::vector<std::string> own_places);
    void load(SetState& state);
    static std::optional<Reread> reread_of(const TrackedSet& tracked);
    MonotonicTime next_deadline() const;
    SetState* find(const std::string& set);
    std::optional<std::pair<VolumeId, ObjectHandle>> place_of(const std::string& directory);
    // Blocking: reads all trees of the revision if they are not known.
    Result<std::vector<std::string>> linked_files(const std::string& set, const RevisionId& parent);
    Watchers watchers_of(const SetState& state) const;
    static HandleResolver resolver_of(Watchers watchers);

    // ---- volumes.cc
    void plan();
    // Mounts may have changed this very moment, before anybody is told.
    bool mounts_differ() const;
    std::string scopes_of(const std::set<std::string>& sets) const;
    void arm(TrackedVolume& volume, const std::string& why);
    void note_places(SetState& state);
    std::map<std::string, std::string> mounted_below(const SetState& state) const;
    void note_mounted(SetState& state);
    void note_way(TrackedVolume& volume);
    // The names on the way to the roots that a batch tells to be another object's, now or for a
    // while.
    static std::set<std::string> moved_on_the_way(const TrackedVolume& volume,
                                                  const WatchBatch& batch);
    void compare_below(SetState& state, const std::string& place);
    // Of this set, or all: the roots are the directories that they were. A few microseconds each.
    bool are_roots_in_place(const std::string& set = {}) const;
    void forget_group(TrackedVolume& volume);
    void keep_group(TrackedVolume& volume, const std::string& name);
    void tell_problems();
    // `path`: as the sets name it.
    TrackedVolume* volume_at(const std::string& path);

    // ---- canary.cc
    void touch_canaries();
    void check_canaries();

    // ---- scans.cc
    void start_scan();
    void scan_unwatched();
    struct ScanOf {
        std::string set;
        BackupSet definition;
        std::vector<Path> absent;
        std::vector<std::string> never_enter;
        std::uint64_t serial = 0, losses = 0, commits = 0;
        std::optional<Reread> reread;
    };
    void begin_scan(const SetState& state);
    void scan(const ScanOf& what, std::stop_token stop);
    // A revision to compare with.
    void base_found(const std::string& set, std::uint64_t number);
    void take_findings(const std::string& set, const std::vector<struct ScanFinding>& findings);
    void mark_path_of_set(SetState& state, const std::string& path, const SurveyFinding& finding);
    void scan_ended(const ScanOf& what, bool has_base, const std::string& revision, Timestamp began,
                    const Result<>& done);

    // ---- scrub.cc
    void start_scrub();
    void scrub_ended(const std::string& set);
    struct MarkOver {
        enum class Kind : std::uint8_t { itself, listing, subtree, name, everything, renamed };
        const Mark* mark;  // nullptr: a directory that was renamed or is new
        Kind kind;
        bool is_direct;  // of the path itself, not of something above it
    };
    void each_mark_over(const SetState& state, const std::string& path,
                        const std::function<void(const MarkOver&)>& visit);
    static const char* word_of(MarkOver::Kind kind);
    bool is_asked_for(const SetState& state, const std::string& path);
    // Not on the thread.
    std::optional<std::uint64_t> unmarked(const std::string& set, const std::string& path);
    void note_missed(const std::string& set, const Missed& missed);

    // ---- weighing.cc
    struct Weighing {
        std::string set;
        std::uint64_t commits = 0;  // of the set when it began, like what follows
        Generation generation = 0;
        std::uint64_t runs = 0;
        Weight weight;
        bool is_partial = false;
        std::vector<WaitingSample::Object> strangers;
        Duration took{};
    };
    void start_weighing();
    void weighed(const Weighing& done);

    // ---- answers.cc
    void publish();
    TrackingStatus describe(const SetState& state) const;

    TrackerHost& host_;
    StateStore& store_;
    const Clock& clock_;
    const TrackerOptions options_;

    std::atomic<unsigned> runs_ = 0;  // under way

    std::mutex tasks_mutex_;  // guards tasks_, nudged_, is_stopping_
    std::condition_variable_any wake_;
    std::deque<std::function<void()>> tasks_;
    bool nudged_ = false, is_stopping_ = false;

    mutable std::mutex status_mutex_;  // guards published_
    std::map<std::string, TrackingStatus> published_;

    // What follows belongs to the thread.
    std::shared_ptr<const Policy> policy_;
    std::vector<std::string> never_enter_;
    std::map<std::string, std::unique_ptr<SetState>> sets_;
    std::uint64_t last_serial_ = 0;  // of a state of a set, or one of its revisions
    std::map<VolumeId, TrackedVolume> volumes_;
    std::shared_ptr<std::vector<Scope>> scopes_ = std::make_shared<std::vector<Scope>>();
    std::unique_ptr<MountTable> mounts_;
    RealPlaces real_places_;
    std::string mounts_text_;  // that mounts_ was read from
    std::unique_ptr<MountWatch> mount_watch_;
    bool mounts_changed_ = false;
    MonotonicTime next_persist_{}, next_census_{}, next_canary_{}, next_unwatched_{},
        canary_deadline_{};
    std::string scanning_set_;   // empty: no scan runs
    std::string scrubbing_set_;  // empty: no pass is under way
    bool is_weighing_ = false;
    std::jthread weigher_;
    std::jthread scanner_, scrubber_;
    std::jthread thread_;
};

}  // namespace backup
