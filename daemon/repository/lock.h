// RepositoryLock is a lock file of ours in a repository, in restic's protocol: whoever writes holds
// a shared one, whoever removes an exclusive one; they are advisory, and each is refreshed every 5
// minutes. Anybody may remove our lock (`restic unlock` does so when it cannot signal us), so it is
// verified before every write that relies on it.
//
// Two kinds are our own. A collector holds a `collect` lock from begin to end: to others a shared
// one, of which there is only one at a time. For the moment in which it takes packs out of the
// index it adds an `unlist` lock: to restic an exclusive one, so nobody who loaded the index before
// and knows nothing of marks is running; programs that say they are backupd do not mind it, because
// they rely on no marked pack.
//
//     holder \ wanted   shared   exclusive   collect   unlist
//     shared, ours       yes      no          yes       yes
//     shared, restic's   yes      no          yes       no
//     exclusive          no       no          no        no
//     collect            yes      no          no        yes (its own)
//     unlist             yes      no          no        no
//
// Thread-safe. Blocking. Times are wall clock: monotonic time stands still while a
// laptop sleeps.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/identity.h"
#include "daemon/repository/lock_file.h"

namespace backup {

class LockJournal;

// Everything a lock needs of its repository; the references outlive the lock.
struct LockPlace {
    Backend& backend;
    const MasterKey& key;
    const Clock& clock;
    LockJournal* journal;  // may be null
    unsigned version;
    std::string repository_id;
};

enum class LockKind : std::uint8_t { shared, exclusive, collect, unlist };
// What a lock file that was found is.
LockKind kind_of(const LockFile& lock);

inline constexpr Duration kLockRefreshEvery = std::chrono::minutes(5);
// After this without a refresh a lock is stale to everybody.
inline constexpr Duration kLockStaleAfter = std::chrono::minutes(30);
// From here on the lock file must be seen to exist before and after the refresh.
inline constexpr Duration kLockDoubtfulAfter = std::chrono::seconds(22 * 60 + 30);

class RepositoryLock {
  public:
    // `conflict`/repository_locked, naming the holder, when another lock is in the way; nothing is
    // left behind then.
    static Result<std::unique_ptr<RepositoryLock>> acquire(const LockPlace& place, LockKind kind,
                                                           std::stop_token stop);
    static Result<std::unique_ptr<RepositoryLock>> acquire(const LockPlace& place, bool exclusive,
                                                           std::stop_token stop) {
        return acquire(place, exclusive ? LockKind::exclusive : LockKind::shared, std::move(stop));
    }
    // Removes the lock file; if that fails, remove_left_locks() tries again, and the journal
    // remembers it for the next open.
    ~RepositoryLock();
    RepositoryLock(const RepositoryLock&) = delete;
    RepositoryLock& operator=(const RepositoryLock&) = delete;

    enum class State : std::uint8_t {
        held,  // it was there all the time
        lost,  // it was gone, or too old for others to respect: anything may have happened to the
               // repository since
    };
    // Looks at the lock file, and refreshes it first if that is due.
    Result<State> verify(std::stop_token stop);
    // Writes a new lock file if 5 minutes have passed since the last. An error only means "try
    // again later".
    Result<State> refresh_if_due(std::stop_token stop);
    // After `lost`: acquires anew. The caller must then look at the repository again.
    Result<> renew(std::stop_token stop);

    LockId id() const;

  private:
    RepositoryLock(const LockPlace& place, LockKind kind)
        : place_(place), kind_(kind), began_(place.clock.now()) {}
    Result<> take(std::stop_token stop);
    Result<State> refresh(std::stop_token stop);
    struct Written {
        LockId id;
        Timestamp time;
    };
    Result<Written> write_file();
    void withdraw(const LockId& id);  // removes the file, wherever it stands
    Result<bool> exists();

    const LockPlace place_;
    const LockKind kind_;
    const Timestamp began_;
    mutable std::mutex mutex_;  // guards the rest; held during I/O
    LockId id_{};
    bool has_file_ = false;
    Timestamp written_{};
};

// A lock file found in a repository. `file` is empty if it could not be read.
struct FoundLock {
    LockId id;
    std::optional<LockFile> file;
};
// Empty lock files (left by a crash while one was written) are left out.
Result<std::vector<FoundLock>> read_locks(const LockPlace& place, bool with_empty = false);

// Who holds a shared lock and is not this program, on any host: it may have listed snapshots and
// index files, and fails if one of them is gone when it comes to read it. nullptr: nobody.
const LockFile* foreign_writer(const std::vector<FoundLock>& locks);

// Stale: older than 30 minutes, or of a process of this host that is gone.
bool is_stale(const LockFile& lock, Timestamp now, const Identity& self);

// Tries again to remove the locks of this process in this repository that nobody holds and that
// could not be removed; every acquire() does so first. False: some are still there.
bool remove_left_locks(const LockPlace& place);

// Removes what a killed process of ours left: locks that the journal remembers and no running
// session holds, and those of dead processes of this host. Foreign stale ones are only reported, by
// a warning. For open(); never fails.
void remove_own_stale_locks(const LockPlace& place);
// On request. `all`: also locks that look alive or are unreadable, but never those of sessions of
// this process. Counts them.
Result<unsigned> remove_stale_locks(const LockPlace& place, bool all);

// "user@host (process 12), shared, since 2026-01-02T03:04:05Z"
std::string describe(const LockFile& lock);

}  // namespace backup
