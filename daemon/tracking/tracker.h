// Tracker knows at every moment what of each set is not yet protected. It arms watches for the
// volumes of the sets, takes what the watchers collected, keeps the queues and their persistent
// form, scans when events were lost, and gives each backup run what it must look at.
//
// One thread of its own does all of that; every member function may be called from any thread, and
// those that can take long say so. Failures never stop it: what cannot be tracked is scanned, what
// cannot be scanned is compared by the run itself, and status() says so.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/archive/backup.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

// Words of the contract: live scanning degraded off.
enum class TrackingState : std::uint8_t { off, scanning, live, degraded };
const char* to_string(TrackingState state);

struct VolumeStatus {
    std::string id, place, type, watching;  // watching: fanotify inotify scan
    std::string state;                      // away arming scanning live rescan
    std::string problem;                    // with the remedy
    std::uint64_t records = 0, overflows = 0, watched = 0, unwatched = 0;
};

struct TrackingStatus {
    TrackingState state = TrackingState::off;
    std::string watching;    // fanotify, inotify or scan: the weakest of the volumes
    std::string reason;      // why it is not live, or what a person should know; with the remedy
    std::uint64_t gaps = 0;  // volumes on which changes may be unknown now, missing ones included
    std::uint64_t pending = 0;
    std::uint64_t pending_bytes = 0;  // of what was looked at so far; an estimate
    std::optional<Timestamp> oldest;
    // The last change that no run has seen yet; nothing: all that is pending was tried already.
    std::optional<Timestamp> last_change;
    // Everything that happened before this is in a revision, but for what the last run could not
    // read or was not to take. Nothing: not known.
    std::optional<Timestamp> protected_until;
    // Changes that nothing told of, missed_content among them (not even the stamps told).
    std::uint64_t missed_changes = 0, missed_content = 0, silent_metadata = 0, overflows = 0,
                  rescans = 0, held_files = 0;
    std::vector<VolumeStatus> volumes;
};

struct QueueEntry {
    std::string path;
    // created modified metadata deleted directory subtree everything; unnamed: a file of which only
    // the file system is known (then the path is its mount point)
    std::string kind;
    Timestamp since{};
    std::uint64_t bytes = 0;
    bool is_held = false;  // somebody has it open for writing
};

inline constexpr const char* kStoppedSuddenly =
    "the machine stopped without warning: files changed shortly before the last revision are read "
    "again";

// Directories that the next run must list, or all of the set.
struct ListAgain {
    std::vector<std::string> directories;
    bool is_everything = false;
};

// What a run must look at, and what is to be cleared when it succeeded.
class TrackedRun {
  public:
    virtual ~TrackedRun() = default;
    // nullptr: everything, by metadata.
    virtual const LookAt* look_at() const = 0;
    // Something that the revision will hold is older than the revision: a file system is missing,
    // and what happened to it meanwhile is not known. There is no other gap: a run that cannot rely
    // on what was tracked compares everything.
    virtual bool has_gap() const = 0;
    // Places where a file system is missing that the parent revision has: kept as they are there.
    virtual std::vector<Path> absent() const = 0;
    // nullptr, or what must be read whatever its stamps say: the machine went down under a daemon
    // since the revision that the run continues.
    virtual const Reread* reread() const = 0;
    // Why everything must be looked at; empty when only changes are.
    virtual std::string reason() const = 0;
    // What changed since the parent revision is marked, each of it: a run that reads everything all
    // the same must find nothing else.
    virtual bool knows_changes() const = 0;
    // Give these to the backup: paths whose mark must stay.
    virtual void unsettled(const std::string& path) = 0;
    // The run made this revision, and it is durable. Without this call all marks stay. Blocking
    // (a barrier, a write of the state). `again`: directories that the next run must list, or all
    // of the set: what it has there that is new is not in the revision.
    virtual void committed(const RevisionId& revision, const std::vector<std::string>& exceptions,
                           const ListAgain& again = {}) = 0;
};

struct TrackerOptions {
    std::string state_dir;
    std::vector<std::string> watching = {"fanotify", "inotify", "scan"};  // in order of preference
    Duration census_period = std::chrono::seconds(60);
    Duration scrub_period = std::chrono::hours(24);
    unsigned scrub_content_percent = 1;
    Duration canary_period = std::chrono::minutes(10);
    // Makes a file without a name in a directory, and closes it; its inode. None: done here. The
    // tracker's thread waits for it.
    std::function<Result<std::uint64_t>(const std::string& directory)> touch;
    Duration degraded_scan_period = std::chrono::minutes(15);
    Duration persist_period = std::chrono::seconds(1);
    std::uint64_t most_watches = 0;
    // The service manager's store of descriptors: what it gave us at the start (once; not open: it
    // has none of that name), and what it shall keep over our next restart. Any thread. Empty:
    // there is no store.
    std::function<UniqueFd(const std::string& name)> inherit;
    std::function<void(const std::string& name, int fd)> keep;
    std::function<void(const std::string& name)> forget;
};

// What the tracker needs of the world above.
class TrackerHost {
  public:
    virtual ~TrackerHost() = default;
    // The revision that the next backup of the set would continue, and its repository, opened.
    // Blocking. Nothing: there is none yet.
    struct Base {
        RevisionEntry revision;
        std::shared_ptr<Repository> repository;
    };
    virtual Result<std::optional<Base>> base_of(const std::string& set) = 0;
    // Something in status() changed. From the tracker's thread; must not block.
    virtual void tracking_changed(const std::string& set) = 0;
    virtual void tracking_message(LogLevel level, const std::string& message) = 0;
};

class Tracker {
  public:
    static std::unique_ptr<Tracker> make(TrackerHost& host, StateStore& store, const Clock& clock,
                                         TrackerOptions options);
    virtual ~Tracker() = default;  // stops and joins

    // The sets in force. Those that are new or changed are armed and scanned. `own_places` (the
    // state, local repositories) are never entered, and what happens in them is no change.
    virtual void set_policy(std::shared_ptr<const Policy> policy,
                            std::vector<std::string> own_places) = 0;

    // The repository of the set can be read again: a comparison that failed is tried at once.
    virtual void repository_returned(const std::string& set) = 0;

    virtual TrackingStatus status(const std::string& set) const = 0;
    // What waits, oldest first; limit 0: all. Blocking: resolves names.
    virtual Result<std::vector<QueueEntry>> queue(const std::string& set, std::size_t limit) = 0;
    // Is this path waiting? Nothing: no. Blocking.
    virtual Result<std::optional<QueueEntry>> pending(const std::string& set,
                                                      const std::string& path) = 0;

    // For a run that is about to read. Blocking (a barrier, a census). Two runs of a set never
    // overlap.
    virtual Result<std::unique_ptr<TrackedRun>> begin_run(const std::string& set,
                                                          const std::optional<RevisionId>& parent,
                                                          bool full) = 0;

    // What is missing now is not expected back: the next run compares everything, and what lies
    // there is what the source is. Blocking.
    virtual void accept_absence(const std::string& set) = 0;

    // The snapshot of a revision was written anew with other tags: what continued the one continues
    // the other.
    virtual void revision_rewritten(const std::string& set, const RevisionId& before,
                                    const RevisionId& after) = 0;
};

}  // namespace backup
