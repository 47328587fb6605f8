// Repository is an open repository in restic's format, version 1 (read) or 2: master key, config,
// index, snapshots. One object per repository lives as long as the daemon; all its methods may be
// called from several threads (internally locked), none from the loop thread, for they do I/O.
// Reading creates nothing in the repository.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/blob_sink.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/config_codec.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/damage_book.h"
#include "daemon/repository/index_file.h"
#include "daemon/repository/key_file.h"
#include "daemon/repository/lock.h"
#include "daemon/repository/snapshot.h"
#include "daemon/repository/stored_packs.h"
#include "daemon/runtime/precedence.h"

namespace backup {

struct KeyInfo {
    KeyId id;
    std::string username, hostname;
    Timestamp created{};
    bool is_current = false;  // the one this repository was opened with
};

struct RevisionEntry {
    RevisionId id;
    Snapshot snapshot;
};

// Durable memory of the locks we hold, so that those of a killed daemon are removed at the next
// start. Implemented by the state store. remember() is called before the lock file is written.
class LockJournal {
  public:
    virtual ~LockJournal() = default;
    virtual void remember(const std::string& repository_id, const LockId& lock) = 0;
    virtual void forget(const std::string& repository_id, const LockId& lock) = 0;
    virtual std::vector<LockId> remembered(const std::string& repository_id) = 0;
};

struct RepositoryOptions {
    const Clock* clock = nullptr;  // required
    // None: nothing is remembered (tests, read-only use).
    LockJournal* lock_journal = nullptr;
    PackJournal* pack_journal = nullptr;
    DamageJournal* damage_journal = nullptr;
    std::optional<KeyId> key_hint;  // tried first: one scrypt instead of several
    // Where a local copy of the index is kept, mapped instead of held in memory; a folder of ours
    // alone. Empty: none, all of it is in memory.
    std::string index_folder;
    bool always_copy_index = false;  // for tests: however small it is
    // Told each time that a snapshot could not be read, unless the caller asked to be told. Any
    // thread.
    std::function<void(const Error&)> on_damage;
    std::size_t most_key_memory = std::size_t{1}
                                  << 30;  // refuse key files that want more for scrypt
};

struct WriteOptions {
    std::size_t pack_bytes = std::size_t{16} << 20;
    int compression_level = 3;
    // Blobs of packs in flight between sealing and stored; the bound of upload memory.
    std::size_t most_upload_bytes = std::size_t{24} << 20;
    // What goes first: while it is held nothing is hashed, sealed or uploaded. nullptr: nothing
    // does.
    Precedence* gives_way_to = nullptr;
    bool verify_before_upload = true;  // decode what was encoded, before a pack is uploaded
    // The revision whose trees this run takes over without looking at all that is below them: if
    // our lock was lost it must still be there.
    std::optional<RevisionId> continues;
    // Whose run this is, if the next one of the same is to find what it stored, should it be killed
    // (stored_packs.h). One session of an owner at a time. Empty: nobody's.
    std::string owner;
    // How packs may go; what it does not let through is not stored, and nothing can be committed.
    // None: as fast as can be.
    std::shared_ptr<Pace> pace;
};

// WriteSession holds a shared lock (refreshed every 5 minutes by a thread of its own), takes blobs,
// and ends with commit() or with destruction. Without commit nothing becomes visible. Lock lost and
// a prune may have run: commit() re-checks that what it relies on is still indexed, else fails with
// `conflict`.
class WriteSession : public BlobSink {
  public:
    // Stores the open packs, then the index, then the snapshot, each durable before the next is
    // begun; reads the snapshot back. The snapshot's `tree` must have been saved or be contained.
    virtual Result<RevisionId> commit(const Snapshot& snapshot) = 0;
    // Packs and index only: what was saved will be found by the next run. For cancel and shutdown.
    virtual Result<> checkpoint() = 0;
    // While the run goes on: the trees saved so far and the data of packs that are full will be
    // found by the next run; data in packs that are still open will not.
    virtual Result<> settle_trees() = 0;
    // Of a run that was asked to stop: what is saved from now on is stored all the same.
    virtual void wind_up() = 0;

    struct Counters {
        std::uint64_t data_blobs_new = 0, tree_blobs_new = 0;
        std::uint64_t bytes_added = 0;   // plaintext of new blobs
        std::uint64_t bytes_stored = 0;  // sealed
        std::uint64_t packs_stored = 0;
    };
    virtual Counters counters() const = 0;
};

class Repository {
  public:
    virtual ~Repository() = default;

    // Makes config and first key in an empty place; `conflict` if a config, key or snapshot exists.
    static Result<std::unique_ptr<Repository>> init(Backend& backend, ByteView password,
                                                    const RepositoryOptions& options,
                                                    KeyCost cost = {});
    // Kinds and codes: `not_found`/repository_missing without a config, `denied`/wrong_password,
    // `corrupt`/ repository_damaged, `invalid`/unsupported for an unknown version. A key file that
    // cannot be parsed is skipped with a warning. Removes our own stale locks (lock journal; own
    // hostname and dead pid).
    static Result<std::unique_ptr<Repository>> open(Backend& backend, ByteView password,
                                                    const RepositoryOptions& options);

    virtual Backend& backend() = 0;
    virtual const RepositoryConfig& config() const = 0;

    virtual Result<std::vector<KeyInfo>> list_keys() = 0;
    virtual Result<KeyId> add_key(ByteView password, KeyCost cost = {}) = 0;
    // Refuses the current key and the last one. Takes the exclusive lock for it.
    virtual Result<> remove_key(const KeyId& id, DeletingBackend& deleting) = 0;

    // Loads index files that are new and drops those that vanished. open() does not load the index;
    // the first refresh does. Cheap when nothing changed (one listing). Without `broken` an index
    // file that cannot be loaded is the error; with it such files are skipped and reported.
    virtual Result<> refresh_index(std::stop_token stop, std::vector<Error>* broken = nullptr) = 0;
    // All snapshots, unsorted. Cached by id: only new ones are read. Every unreadable one is an
    // error in `broken` (without it, a warning in the log and told to on_damage).
    virtual Result<std::vector<RevisionEntry>> list_revisions(
        std::vector<Error>* broken = nullptr) = 0;
    virtual Result<Snapshot> load_revision(const RevisionId& id) = 0;

    // Of the loaded index: packs that are marked for deletion, by us or by another tool.
    virtual std::map<PackId, PackMark> marks() = 0;

    // Packs that sessions of this process are not to rely on, besides the marked: the collector is
    // copying what is needed of them. Replaces what was said before.
    virtual void avoid_packs(std::vector<PackId> packs) = 0;

    virtual BlobSource& blobs() = 0;
    // What is known to be damaged: for whoever finds damage, or decides what is kept.
    virtual DamageBook& damage() = 0;
    // Of the loaded index: whether it names the pack.
    virtual bool is_indexed(const PackId& pack) const = 0;
    // Visits every blob the index knows, once per copy; holds no lock while `each` runs on a copy
    // of a shard.
    virtual void each_indexed(
        const std::function<void(const BlobHandle&, const BlobLocation&)>& each) const = 0;

    // Takes a shared lock (restic's protocol; conflict/repository_locked names the holder),
    // refreshes the index.
    virtual Result<std::unique_ptr<WriteSession>> start_write(const WriteOptions& options,
                                                              std::stop_token stop) = 0;

    // A lock beside sessions: for whoever changes snapshots (shared), for the collector, for keys.
    virtual Result<std::unique_ptr<RepositoryLock>> lock(LockKind kind, std::stop_token stop) = 0;
    // All locks there are.
    virtual Result<std::vector<FoundLock>> locks() = 0;
    // Stores a document of ours (snapshot, index) and reads it back. Under a lock of the caller's.
    virtual Result<FileId> store_unpacked(FileType type, ByteView json) = 0;
    virtual const Clock& clock() const = 0;

    // Removes the locks of dead processes of this host and those older than 30 minutes; `all`: also
    // those that look alive or cannot be read, except the ones that sessions of this process hold.
    // Counts them.
    virtual Result<unsigned> remove_stale_locks(bool all) = 0;

    // After use, for some time or for good: a large index moves to its local copy, memory that the
    // next use brings back is given up. The key stays. Cheap when there is nothing to do. False: a
    // lock of ours is still there that could not be removed; to be called again.
    virtual bool rest() = 0;

    // Any unpacked file: index, snapshot, lock. Verified: name, MAC, decompressed size limit.
    virtual Result<Bytes> load_unpacked(FileType type, const FileId& id) = 0;
    // Opens sealed bytes (a blob, a pack header) with the master key.
    virtual Result<Bytes> unseal(ByteView sealed) const = 0;
    // For whoever decodes packs itself, as the checker does. Lives as long as the repository.
    virtual const MasterKey& master_key() const = 0;
};

}  // namespace backup
