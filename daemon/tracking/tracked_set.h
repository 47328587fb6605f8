// TrackedSet is what the tracker knows of one set: its queue, the revision that the queue is
// relative to, the files that others hold open for writing, and why it is not live. It also deals
// out what a watcher collected: which of it concerns this set. Tracker thread only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "daemon/policy/policy.h"
#include "daemon/queue/change_queue.h"
#include "daemon/tracking/scope.h"
#include "daemon/tracking/tracker.h"
#include "daemon/watch/census.h"
#include "daemon/watch/watcher.h"

namespace backup {

// What tells whether a file was changed by somebody who raises no events.
struct HeldState {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t mtime_ns = 0, ctime_ns = 0;
    bool operator==(const HeldState&) const = default;
};

class TrackedSet {
  public:
    TrackedSet(BackupSet set, Scope scope);

    const BackupSet& set() const { return set_; }
    const Scope& scope() const { return scope_; }
    ChangeQueue& queue() { return queue_; }
    const ChangeQueue& queue() const { return queue_; }

    // Takes what concerns this set. `path_of` resolves directories of the volume as they are now;
    // `exists` tells whether an object of which only the handle is known is still there.
    // False if something happened that makes the marks worthless (an ancestor of a path of the set
    // was renamed, records were lost): need_scan() has been called.
    struct Resolver {
        std::function<std::optional<std::string>(const ObjectHandle&)> path_of;
        std::function<bool(const ObjectHandle&)> exists;
        std::function<bool(const ObjectHandle&)> has_other_names;
        // Whether the name leads to that object now. Not set: it does.
        std::function<bool(const ObjectHandle& directory, const std::string& name,
                           const ObjectHandle& object)>
            leads_to;
        // For a directory that has no path: it is still watched, on its way to another place.
        // Not set: no.
        std::function<bool(const ObjectHandle&)> is_on_its_way;
    };
    void absorb(const VolumeId& volume, const WatchBatch& batch, const Resolver& resolver,
                Timestamp now);
    // To be called when another watcher answers for a file system: what one does not find, because
    // it begins at other roots, the next one may.
    void forget_places() { verdicts_.clear(); }

    // Everything must be compared; the state is `scanning` until that is done.
    void need_scan(std::string reason, Timestamp now);
    bool needs_scan() const { return !scan_reason_.empty(); }
    const std::string& scan_reason() const { return scan_reason_; }
    Timestamp scan_since() const { return scan_since_; }
    // Grows with each need_scan(): a comparison counts only if it is still the same at its end. Of
    // no two sets the same, the one before under the same name included.
    std::uint64_t losses() const { return losses_; }
    // All was compared since `losses` was read, and what was renamed meanwhile is absorbed.
    void compared(std::uint64_t losses);
    // A revision was made from what was known when `losses` was read. Had something been lost since
    // then, a comparison that has ended meanwhile was with the revision before, and does not count.
    void superseded(std::uint64_t losses, Timestamp now);

    // One census: marks what changed silently, what is new and what was let go.
    void note_held(const std::vector<HeldFile>& held,
                   const std::function<std::optional<std::pair<VolumeId, ObjectHandle>>(
                       const std::string& directory)>& place_of,
                   Timestamp now);
    std::vector<std::string> held_files() const;
    const std::map<std::string, HeldState>& held() const { return held_; }

    // ---- what is kept over a restart besides the marks
    struct Base {
        std::string revision;    // hex; empty: none
        std::string definition;  // of the set when that revision was made
        std::map<std::string, HeldState> held;
        std::map<std::string, VolumeId> places;  // where its file systems were mounted
        // Not empty: the last stop was clean, everything taken from the watchers is in the marks,
        // and this boot's descriptors were left to the service manager. The boot, and what was
        // mounted below its paths then.
        std::string resumable;
        std::string boot;   // of the machine that this set was served in last; empty: clean stop
        Timestamp began{};  // of the run that made the revision
        // The machine went down under a daemon, and no complete revision was made since: equal
        // stamps prove nothing of files with a ctime from `since` on, nor of those at `paths`,
        // which others could write to then.
        struct Unproven {
            Timestamp since{};
            std::set<std::string> paths;
            bool operator==(const Unproven&) const = default;
        };
        std::optional<Unproven> unproven;
    };
    // From now on it is served in this boot. What the boot before left behind without a clean stop
    // becomes `unproven`: to be kept before anything is cleared.
    void begin_serving(const std::string& boot, Timestamp now);
    void stop_serving();  // cleanly
    Base& base() { return base_; }
    const Base& base() const { return base_; }
    // Text that changes whenever what the set protects changes.
    static std::string definition_of(const BackupSet& set,
                                     const std::vector<std::string>& never_enter);

    // All that take_records() of the queue gives, and the base when it changed.
    std::vector<QueueRecord> take_records();
    // Everything, after the store had to be emptied.
    std::vector<QueueRecord> all_records();
    bool has_records() const;
    void base_changed() { is_base_changed_ = true; }
    // `corrupt`: the records cannot be understood.
    Result<> load(const std::vector<QueueRecord>& records);

    std::vector<VolumeId> volumes;
    std::optional<Timestamp> protected_until;
    std::uint64_t rescans = 0, missed_changes = 0, missed_content = 0, silent_metadata = 0;

  private:
    struct Verdict {
        std::string path;  // empty: gone, or not known where, but perhaps inside
        Scope::Place place = Scope::Place::outside;
    };
    const Verdict& verdict(const VolumeId& volume, const ObjectHandle& directory,
                           const Resolver& resolver);
    void add_base(std::vector<QueueRecord>& records);
    void absorb_move(const VolumeId& volume, const WatchBatch::DirectoryMove& move,
                     const Resolver& resolver, WatchBatch& mine, Timestamp now);

    BackupSet set_;
    Scope scope_;
    ChangeQueue queue_;
    Base base_;
    bool is_base_changed_ = false;
    std::string scan_reason_;
    Timestamp scan_since_{};
    std::uint64_t losses_;
    std::map<std::string, HeldState> held_;
    // Where directories were when last asked; forgotten when any directory moves, and with the
    // watcher that was asked.
    std::unordered_map<std::string, Verdict> verdicts_;
};

std::optional<HeldState> held_state(const std::string& path);
std::optional<HeldState> held_state(int fd);

}  // namespace backup
