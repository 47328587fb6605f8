// Engine is the Repository over a Backend: what repository.h promises, made of the parts in this
// room.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "daemon/repository/blob_reader.h"
#include "daemon/repository/damage_book.h"
#include "daemon/repository/index.h"
#include "daemon/repository/index_loader.h"
#include "daemon/repository/lock.h"
#include "daemon/repository/repository.h"

namespace backup {

class Engine final : public Repository {
  public:
    Engine(Backend& backend, MasterKey key, const KeyId& key_id, RepositoryConfig config,
           const RepositoryOptions& options);

    Backend& backend() override { return backend_; }
    const RepositoryConfig& config() const override { return config_; }
    Result<std::vector<KeyInfo>> list_keys() override;
    Result<KeyId> add_key(ByteView password, KeyCost cost) override;
    Result<> remove_key(const KeyId& id, DeletingBackend& deleting) override;
    Result<> refresh_index(std::stop_token stop, std::vector<Error>* broken) override;
    Result<std::vector<RevisionEntry>> list_revisions(std::vector<Error>* broken) override;
    Result<Snapshot> load_revision(const RevisionId& id) override;
    std::map<PackId, PackMark> marks() override { return loader_.marks(); }
    void avoid_packs(std::vector<PackId> packs) override { loader_.avoid(std::move(packs)); }
    BlobSource& blobs() override { return reader_; }
    DamageBook& damage() override { return damage_; }
    bool is_indexed(const PackId& pack) const override { return index_.pack_users(pack) != 0; }
    void each_indexed(
        const std::function<void(const BlobHandle&, const BlobLocation&)>& each) const override;
    Result<std::unique_ptr<WriteSession>> start_write(const WriteOptions& options,
                                                      std::stop_token stop) override;
    Result<std::unique_ptr<RepositoryLock>> lock(LockKind kind, std::stop_token stop) override;
    Result<std::vector<FoundLock>> locks() override { return read_locks(lock_place()); }
    Result<FileId> store_unpacked(FileType type, ByteView json) override;
    const Clock& clock() const override { return *options_.clock; }
    Result<unsigned> remove_stale_locks(bool all) override;
    Result<Bytes> load_unpacked(FileType type, const FileId& id) override;
    Result<Bytes> unseal(ByteView sealed) const override { return key_.unseal(sealed); }
    const MasterKey& master_key() const override { return key_; }

    bool rest() override;

    LockPlace lock_place() const;

  private:
    void strike_out_what_is_gone();
    Result<> read_snapshots(const std::vector<RevisionId>& ids, std::vector<Error>* broken);

    Backend& backend_;
    const MasterKey key_;
    const KeyId key_id_;
    const RepositoryConfig config_;
    const RepositoryOptions options_;

    DamageBook damage_;
    BlobIndex index_;
    BlobIndex marked_;  // in packs that another tool has marked for deletion
    IndexLoader loader_;
    BlobReader reader_;

    std::mutex snapshots_mutex_;  // guards snapshots_
    std::map<RevisionId, std::shared_ptr<const Snapshot>> snapshots_;
};

// Adds a key file for the master key.
Result<KeyId> write_key(Backend& backend, const MasterKey& key, ByteView password, KeyCost cost,
                        Timestamp now);

}  // namespace backup
