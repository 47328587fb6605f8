#include "daemon/repository/engine.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <set>
#include <thread>

#include "common/log.h"
#include "daemon/repository/session.h"
#include "daemon/repository/stored_packs.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

// Snapshots are small: reading them is all waiting.
constexpr unsigned kMostReaders = 8;

FileId file_id(const auto& id) {
    return retag<struct FileTag>(id);
}

IndexCopy index_copy(const RepositoryConfig& config, const RepositoryOptions& options) {
    // The id becomes a file name.
    if (options.index_folder.empty() || !FileId::from_hex(config.id)) return {};
    return {options.index_folder + "/" + config.id + ".idx", config.id, options.always_copy_index};
}

}  // namespace

Engine::Engine(Backend& backend, MasterKey key, const KeyId& key_id, RepositoryConfig config,
               const RepositoryOptions& options)
    : backend_(backend),
      key_(std::move(key)),
      key_id_(key_id),
      config_(std::move(config)),
      options_(options),
      damage_(options_.damage_journal, config_.id),
      index_(&damage_),
      loader_(backend_, key_, config_.version, index_, marked_, index_copy(config_, options_)),
      reader_(backend_, key_, index_, marked_, damage_, [this] { return loader_.refresh({}); }) {
    assert(options.clock);
}

bool Engine::rest() {
    loader_.spill(false);
    index_.drop_pages();
    return remove_left_locks(lock_place());
}

LockPlace Engine::lock_place() const {
    return {backend_, key_, *options_.clock, options_.lock_journal, config_.version, config_.id};
}

Result<> Engine::refresh_index(std::stop_token stop, std::vector<Error>* broken) {
    TRY(loader_.refresh(std::move(stop), broken));
    if (options_.always_copy_index) loader_.spill(false);
    return {};
}

void Engine::each_indexed(
    const std::function<void(const BlobHandle&, const BlobLocation&)>& each) const {
    index_.each(each);
}

Result<Bytes> Engine::load_unpacked(FileType type, const FileId& id) {
    return read_unpacked(backend_, key_, config_.version, type, id);
}

Result<Snapshot> Engine::load_revision(const RevisionId& id) {
    {
        std::lock_guard lock(snapshots_mutex_);
        auto found = snapshots_.find(id);
        if (found != snapshots_.end()) return *found->second;
    }
    Result<Bytes> json = load_unpacked(FileType::snapshot, file_id(id));
    if (!json.ok()) {
        Error error = std::move(json).error();
        if (error.kind() == ErrorKind::not_found)
            return std::move(error).with_code(ErrorCode::no_such_revision);
        return error;
    }
    Result<Snapshot> snapshot = decode_snapshot(*json);
    if (!snapshot.ok())
        return std::move(snapshot)
            .error()
            .during("snapshot " + id.short_hex())
            .with_code(ErrorCode::repository_damaged);
    std::lock_guard lock(snapshots_mutex_);
    snapshots_[id] = std::make_shared<const Snapshot>(*snapshot);
    return snapshot;
}

Result<std::vector<RevisionEntry>> Engine::list_revisions(std::vector<Error>* broken) {
    std::set<RevisionId> listed;
    TRY_DURING(
        backend_.list(FileType::snapshot,
                      [&](const FileInfo& info) { listed.insert(id_cast<RevisionId>(info.id)); }),
        "list snapshots");
    std::vector<RevisionId> wanted, missing;
    {
        std::lock_guard lock(snapshots_mutex_);
        for (const auto& [id, snapshot] : snapshots_)
            if (!listed.contains(id)) missing.push_back(id);
        for (const RevisionId& id : listed)
            if (!snapshots_.contains(id)) wanted.push_back(id);
    }
    TRY(confirm_vanished(backend_, FileType::snapshot, missing));
    {
        std::lock_guard lock(snapshots_mutex_);
        for (const RevisionId& id : missing) snapshots_.erase(id);
    }
    TRY(read_snapshots(wanted, broken));
    std::vector<RevisionEntry> entries;
    std::lock_guard lock(snapshots_mutex_);
    for (const auto& [id, snapshot] : snapshots_)
        if (listed.contains(id)) entries.push_back({id, *snapshot});
    return entries;
}

Result<> Engine::read_snapshots(const std::vector<RevisionId>& ids, std::vector<Error>* broken) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;  // guards the two below
    std::vector<Error> damaged;
    std::optional<Error> failure;
    auto work = [&] {
        for (std::size_t i = next++; i < ids.size(); i = next++) {
            Result<Snapshot> snapshot = load_revision(ids[i]);
            if (snapshot.ok() || snapshot.error().kind() == ErrorKind::not_found) continue;
            std::lock_guard lock(mutex);
            // Damage concerns one revision; anything else, such as lost contact, all of them.
            if (snapshot.error().kind() == ErrorKind::corrupt)
                damaged.push_back(std::move(snapshot).error());
            else if (!failure)
                failure = std::move(snapshot).error();
        }
    };
    {
        std::vector<std::jthread> readers;
        const std::size_t most = std::min<std::size_t>(
            ids.size() / 4, std::clamp(backend_.properties().connections, 1U, kMostReaders));
        for (std::size_t i = 1; i < most; ++i) readers.emplace_back(work);
        work();
    }
    if (failure) return *std::move(failure);
    for (Error& error : damaged) {
        if (broken) {
            broken->push_back(std::move(error));
            continue;
        }
        log_warning("a revision cannot be read: " + error.message());
        if (options_.on_damage) options_.on_damage(error);
    }
    return {};
}

Result<std::unique_ptr<WriteSession>> Engine::start_write(const WriteOptions& options,
                                                          std::stop_token stop) {
    if (!config_.write_obstacle.empty())
        return Error(ErrorKind::invalid, ErrorCode::unsupported, config_.write_obstacle);
    std::unique_ptr<RepositoryLock> lock = TRY(RepositoryLock::acquire(lock_place(), false, stop));
    // Under the lock: what the index names now stays.
    TRY(refresh_index(stop, nullptr));
    strike_out_what_is_gone();
    PackJournal* journal = options.owner.empty() ? nullptr : options_.pack_journal;
    if (journal != nullptr) {
        Result<TakenUp> taken =
            take_up_packs({backend_, key_, config_.version, config_.id, index_, loader_, *journal},
                          options.owner, *lock, stop);
        if (!taken.ok() && taken.error().kind() == ErrorKind::cancelled)
            return std::move(taken).error();
        // Else it is stored once more.
        if (!taken.ok())
            log_warning("what an interrupted run has stored is not found again for now: " +
                        taken.error().message());
        else if (taken->packs != 0)
            log_notice("found " + std::to_string(taken->packs) + " packs again, " +
                       std::to_string(taken->bytes) + " bytes, that an interrupted run of '" +
                       options.owner + "' has stored");
    }
    return std::unique_ptr<WriteSession>(std::make_unique<Session>(
        Session::Place{backend_, key_, config_, index_, loader_, *options_.clock, journal},
        std::move(lock), options, std::move(stop)));
}

// Packs that no index names any more. Right after the index was loaded without an error.
void Engine::strike_out_what_is_gone() {
    if (!damage_.any()) return;
    std::vector<PackId> gone = damage_.packs();
    std::erase_if(gone, [this](const PackId& pack) {
        return index_.pack_users(pack) != 0 || marked_.pack_users(pack) != 0;
    });
    damage_.forget(gone);
}

Result<std::unique_ptr<RepositoryLock>> Engine::lock(LockKind kind, std::stop_token stop) {
    return RepositoryLock::acquire(lock_place(), kind, std::move(stop));
}

Result<FileId> Engine::store_unpacked(FileType type, ByteView json) {
    UnpackedFile file = TRY(make_unpacked(key_, config_.version, json));
    const Handle handle{type, file.id};
    TRY(backend_.put(handle, file.sealed));
    Bytes stored = TRY_DURING(read_unpacked(backend_, key_, config_.version, type, file.id),
                              "read back " + handle.text());
    if (as_text(stored) != as_text(json))
        return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                     handle.text() + " read back is not what was stored");
    return file.id;
}

Result<unsigned> Engine::remove_stale_locks(bool all) {
    return backup::remove_stale_locks(lock_place(), all);
}

Result<std::vector<KeyInfo>> Engine::list_keys() {
    std::vector<KeyId> ids;
    TRY_DURING(backend_.list(FileType::key,
                             [&](const FileInfo& info) { ids.push_back(id_cast<KeyId>(info.id)); }),
               "list keys");
    std::vector<KeyInfo> keys;
    for (const KeyId& id : ids) {
        Result<Bytes> json = backend_.get({FileType::key, file_id(id)});
        if (!json.ok()) {
            if (json.error().kind() == ErrorKind::not_found) continue;
            return std::move(json).error().during("key " + id.short_hex());
        }
        Result<KeyFile> file = decode_key_file(*json, SIZE_MAX);
        if (!file.ok() || content_id<KeyId>(*json) != id) {
            log_warning("key file " + id.short_hex() + " is damaged");
            continue;
        }
        keys.push_back({id, file->username, file->hostname, file->created, id == key_id_});
    }
    return keys;
}

Result<KeyId> Engine::add_key(ByteView password, KeyCost cost) {
    return write_key(backend_, key_, password, cost, options_.clock->now());
}

Result<> Engine::remove_key(const KeyId& id, DeletingBackend& deleting) {
    if (id == key_id_)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "this is the key that the repository was opened with: it stays");
    std::unique_ptr<RepositoryLock> lock = TRY(RepositoryLock::acquire(lock_place(), true, {}));
    std::vector<KeyInfo> keys = TRY(list_keys());
    auto is = [](const KeyId& wanted) {
        return [&](const KeyInfo& key) { return key.id == wanted; };
    };
    if (std::ranges::none_of(keys, is(key_id_)))
        return Error(
            ErrorKind::conflict, ErrorCode::conflict,
            "the key that the repository was opened with is gone: no other key is removed");
    Result<FileInfo> info = backend_.stat({FileType::key, file_id(id)});
    if (!info.ok()) return std::move(info).error().during("key " + id.short_hex());
    return deleting.remove({FileType::key, file_id(id)});
}

}  // namespace backup
