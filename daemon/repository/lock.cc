#include "daemon/repository/lock.h"

#include <algorithm>
#include <set>

#include "common/log.h"
#include "common/pause.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

constexpr auto kSettle = std::chrono::milliseconds(200);
constexpr int kReadAttempts = 3;

constexpr std::string_view kProgram = "backupd", kCollect = "collect", kUnlist = "unlist";

// The locks that objects of this process hold. The journal survives a kill, this does not: together
// they tell a lock left behind from one in use.
class LiveLocks {
  public:
    void add(const LockId& id) {
        std::lock_guard lock(mutex_);
        ids_.insert(id);
    }
    void remove(const LockId& id) {
        std::lock_guard lock(mutex_);
        ids_.erase(id);
    }
    bool contains(const LockId& id) {
        std::lock_guard lock(mutex_);
        return ids_.contains(id);
    }

  private:
    std::mutex mutex_;  // guards ids_
    std::set<LockId> ids_;
};

LiveLocks& live_locks() {
    static LiveLocks locks;
    return locks;
}

// The locks that nobody holds any more and whose files could not be removed, by repository: they
// keep others out, us among them, until that works.
class LeftLocks {
  public:
    void add(const std::string& repository, const LockId& id) {
        std::lock_guard lock(mutex_);
        ids_.emplace(repository, id);
    }
    std::vector<LockId> take(const std::string& repository) {
        std::lock_guard lock(mutex_);
        std::vector<LockId> taken;
        std::erase_if(ids_, [&](const auto& entry) {
            if (entry.first == repository) taken.push_back(entry.second);
            return entry.first == repository;
        });
        return taken;
    }

  private:
    std::mutex mutex_;  // guards ids_
    std::set<std::pair<std::string, LockId>> ids_;
};

LeftLocks& left_locks() {
    static LeftLocks locks;
    return locks;
}

Result<> settle(const std::stop_token& stop) {
    if (!pause_for(stop, kSettle))
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped while taking the lock");
    return {};
}

Error in_the_way(const FoundLock& lock) {
    std::string message =
        lock.file ? "the repository is locked by " + describe(*lock.file)
                  : "the repository has a lock file that cannot be read: " + lock.id.short_hex();
    return {ErrorKind::conflict, ErrorCode::repository_locked, std::move(message)};
}

// The table in lock.h.
bool is_in_the_way(LockKind wanted, const LockFile& found) {
    const LockKind holds = kind_of(found);
    if (holds == LockKind::exclusive) return true;
    switch (wanted) {
        case LockKind::shared:
            return false;
        case LockKind::exclusive:
            return true;
        case LockKind::collect:
            return holds != LockKind::shared;
        case LockKind::unlist:
            return holds == LockKind::unlist ||
                   (holds == LockKind::shared && found.program != kProgram);
    }
    return true;
}

Result<> check_for_conflict(const LockPlace& place, LockKind kind, const LockId* own) {
    for (const FoundLock& lock : TRY(read_locks(place))) {
        if (own && lock.id == *own) continue;
        // One that stays unreadable could be an exclusive one: better no backup than one that a
        // prune breaks.
        if (!lock.file || is_in_the_way(kind, *lock.file)) return in_the_way(lock);
    }
    return {};
}

bool remove_and_forget(const LockPlace& place, const LockId& id, bool is_first = true) {
    Result<> removed = place.backend.remove_lock(id);
    if (!removed.ok()) {
        if (is_first)
            log_warning("lock " + id.short_hex() +
                        " could not be removed, will be tried again: " + removed.error().message());
        left_locks().add(place.repository_id, id);
        return false;
    }
    if (place.journal) place.journal->forget(place.repository_id, id);
    return true;
}

}  // namespace

LockKind kind_of(const LockFile& lock) {
    if (lock.program == kProgram && lock.purpose == kCollect) return LockKind::collect;
    if (lock.program == kProgram && lock.purpose == kUnlist) return LockKind::unlist;
    return lock.exclusive ? LockKind::exclusive : LockKind::shared;
}

const LockFile* foreign_writer(const std::vector<FoundLock>& locks) {
    for (const FoundLock& lock : locks)
        if (lock.file && kind_of(*lock.file) == LockKind::shared && lock.file->program.empty())
            return &*lock.file;
    return nullptr;
}

std::string describe(const LockFile& lock) {
    std::string who = (lock.username.empty() ? "uid " + std::to_string(lock.uid) : lock.username) +
                      "@" + (lock.hostname.empty() ? "?" : lock.hostname);
    return who + " (process " + std::to_string(lock.pid) +
           (lock.exclusive ? "), exclusive, since " : "), shared, since ") +
           format_rfc3339(lock.time);
}

bool is_stale(const LockFile& lock, Timestamp now, const Identity& self) {
    if (now - lock.time > kLockStaleAfter) return true;
    return lock.hostname == self.hostname && lock.pid != self.pid &&
           !process_may_be_alive(lock.pid);
}

Result<std::vector<FoundLock>> read_locks(const LockPlace& place, bool with_empty) {
    std::vector<FileInfo> listed;
    TRY_DURING(
        place.backend.list(FileType::lock, [&](const FileInfo& info) { listed.push_back(info); }),
        "list locks");
    std::vector<FoundLock> found;
    for (const FileInfo& info : listed) {
        FoundLock lock{id_cast<LockId>(info.id), std::nullopt};
        if (info.size == 0) {
            if (with_empty) found.push_back(std::move(lock));
            continue;
        }
        bool vanished = false;
        for (int attempt = 0; attempt < kReadAttempts && !lock.file && !vanished; ++attempt) {
            if (attempt > 0) TRY(settle({}));  // perhaps it is being written
            Result<Bytes> json =
                read_unpacked(place.backend, place.key, place.version, FileType::lock, info.id);
            if (json.ok()) {
                Result<LockFile> decoded = decode_lock(*json);
                if (decoded.ok()) lock.file = *std::move(decoded);
            } else if (json.error().kind() == ErrorKind::not_found) {
                vanished = true;
            } else if (json.error().kind() != ErrorKind::corrupt) {
                return std::move(json).error().during("read lock " + lock.id.short_hex());
            }
        }
        if (!vanished) found.push_back(std::move(lock));
    }
    return found;
}

Result<std::unique_ptr<RepositoryLock>> RepositoryLock::acquire(const LockPlace& place,
                                                                LockKind kind,
                                                                std::stop_token stop) {
    std::unique_ptr<RepositoryLock> lock(new RepositoryLock(place, kind));
    TRY(lock->take(stop));
    return lock;
}

RepositoryLock::~RepositoryLock() {
    if (has_file_) withdraw(id_);
}

LockId RepositoryLock::id() const {
    std::lock_guard lock(mutex_);
    return id_;
}

Result<RepositoryLock::Written> RepositoryLock::write_file() {
    const Identity self = own_identity();
    LockFile content;
    content.time = place_.clock.now();
    content.exclusive = kind_ == LockKind::exclusive || kind_ == LockKind::unlist;
    content.program = kProgram;
    if (kind_ == LockKind::collect) content.purpose = kCollect;
    if (kind_ == LockKind::unlist) content.purpose = kUnlist;
    content.begin = began_;
    content.hostname = self.hostname;
    content.username = self.username;
    content.pid = self.pid;
    content.uid = self.uid;
    content.gid = self.gid;
    UnpackedFile file =
        TRY(make_unpacked(place_.key, place_.version, as_bytes(encode_lock(content))));
    const LockId id = id_cast<LockId>(file.id);
    live_locks().add(id);
    if (place_.journal) place_.journal->remember(place_.repository_id, id);
    Result<> stored = place_.backend.put({FileType::lock, file.id}, file.sealed);
    if (!stored.ok()) {
        withdraw(id);  // its file may be there all the same
        return std::move(stored).error().during("write the lock");
    }
    return Written{id, content.time};
}

void RepositoryLock::withdraw(const LockId& id) {
    remove_and_forget(place_, id);
    live_locks().remove(id);
}

Result<> RepositoryLock::take(std::stop_token stop) {
    remove_left_locks(place_);
    TRY(check_for_conflict(place_, kind_, nullptr));

    const Written file = TRY(write_file());
    auto give_up = [&](Error error) {
        withdraw(file.id);
        return error;
    };
    // Where a listing shows every earlier put, one of two who lock at the same time surely sees the
    // other.
    if (!place_.backend.properties().consistent_listing) {
        Result<> waited = settle(stop);
        if (!waited.ok()) return give_up(std::move(waited).error());
    }
    Result<> clear = check_for_conflict(place_, kind_, &file.id);
    if (!clear.ok()) return give_up(std::move(clear).error());

    id_ = file.id;
    has_file_ = true;
    written_ = file.time;
    return {};
}

Result<bool> RepositoryLock::exists() {
    Result<FileInfo> info = place_.backend.stat({FileType::lock, retag<struct FileTag>(id_)});
    if (info.ok()) return true;
    if (info.error().kind() == ErrorKind::not_found) return false;
    return std::move(info).error().during("look at our lock");
}

Result<RepositoryLock::State> RepositoryLock::verify(std::stop_token stop) {
    std::lock_guard lock(mutex_);
    if (!has_file_) return State::lost;
    const Duration age = place_.clock.now() - written_;
    if (age < kLockRefreshEvery && age > -kLockRefreshEvery)
        return TRY(exists()) ? State::held : State::lost;
    return refresh(stop);
}

Result<RepositoryLock::State> RepositoryLock::refresh_if_due(std::stop_token stop) {
    std::lock_guard lock(mutex_);
    if (!has_file_) return State::lost;
    const Duration age = place_.clock.now() - written_;
    if (age < kLockRefreshEvery && age > -kLockRefreshEvery) return State::held;
    return refresh(stop);
}

// Writes the successor, then removes the predecessor: there is a lock of ours at every moment.
Result<RepositoryLock::State> RepositoryLock::refresh(std::stop_token stop) {
    if (!TRY(exists())) return State::lost;

    const Written file = TRY(write_file());
    auto give_up = [&](Error error) {
        withdraw(file.id);
        return error;
    };
    // An old lock may be taken for dead at any moment, up to the one in which the new one was seen.
    // If the old one is still there after that, nobody has removed it and nobody has relied on its
    // absence.
    if (file.time - written_ >= kLockDoubtfulAfter) {
        if (!place_.backend.properties().consistent_listing) {
            Result<> waited = settle(stop);
            if (!waited.ok()) return give_up(std::move(waited).error());
        }
        Result<bool> still_there = exists();
        if (!still_there.ok()) return give_up(std::move(still_there).error());
        if (!*still_there) {
            withdraw(file.id);
            return State::lost;
        }
    }
    withdraw(id_);
    id_ = file.id;
    written_ = file.time;
    return State::held;
}

Result<> RepositoryLock::renew(std::stop_token stop) {
    std::lock_guard lock(mutex_);
    if (has_file_) {
        // Gone already, or too old to count.
        has_file_ = false;
        withdraw(id_);
    }
    return take(stop);
}

bool remove_left_locks(const LockPlace& place) {
    bool are_gone = true;
    for (const LockId& id : left_locks().take(place.repository_id))
        are_gone = remove_and_forget(place, id, false) && are_gone;
    return are_gone;
}

void remove_own_stale_locks(const LockPlace& place) {
    if (place.journal) {
        for (const LockId& id : place.journal->remembered(place.repository_id))
            if (!live_locks().contains(id)) remove_and_forget(place, id);
    }
    Result<std::vector<FoundLock>> found = read_locks(place);
    if (!found.ok()) {
        log_warning("the locks of the repository cannot be read: " + found.error().message());
        return;
    }
    const Identity self = own_identity();
    for (const FoundLock& lock : *found) {
        if (!lock.file || live_locks().contains(lock.id) ||
            !is_stale(*lock.file, place.clock.now(), self))
            continue;
        bool is_ours = lock.file->hostname == self.hostname && lock.file->pid != self.pid &&
                       !process_may_be_alive(lock.file->pid);
        if (is_ours) {
            log_notice("removing the lock of a process that is gone: " + describe(*lock.file));
            remove_and_forget(place, lock.id);
        } else {
            log_warning("stale lock in the repository: " + describe(*lock.file));
        }
    }
}

Result<unsigned> remove_stale_locks(const LockPlace& place, bool all) {
    unsigned removed = 0;
    const Identity self = own_identity();
    for (const FoundLock& lock : TRY(read_locks(place, true))) {
        if (live_locks().contains(lock.id)) continue;
        bool is_dead = lock.file && is_stale(*lock.file, place.clock.now(), self);
        if (!all && !is_dead) continue;
        TRY_DURING(place.backend.remove_lock(lock.id), "remove lock " + lock.id.short_hex());
        if (place.journal) place.journal->forget(place.repository_id, lock.id);
        ++removed;
    }
    return removed;
}

}  // namespace backup
