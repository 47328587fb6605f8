// Session is the WriteSession of an open repository: a shared lock and the thread that refreshes
// it, a PackWriter, an IndexWriter. See repository.h for what it promises.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "daemon/repository/index_loader.h"
#include "daemon/repository/index_writer.h"
#include "daemon/repository/lock.h"
#include "daemon/repository/pack_writer.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/stored_packs.h"

namespace backup {

class Session final : public WriteSession {
  public:
    struct Place {
        Backend& backend;
        const MasterKey& key;
        const RepositoryConfig& config;
        BlobIndex& index;
        IndexLoader& loader;
        const Clock& clock;
        PackJournal* journal;  // may be null
    };
    // The lock is held and the index was refreshed under it.
    Session(const Place& place, std::unique_ptr<RepositoryLock> lock, const WriteOptions& options,
            std::stop_token stop);
    ~Session() override;

    Result<SavedBlob> save(BlobType type, ByteView plaintext) override;
    bool contains(const BlobHandle& handle) const override;
    Result<RevisionId> commit(const Snapshot& snapshot) override;
    Result<> checkpoint() override;
    Result<> settle_trees() override;
    void wind_up() override { packs_->wind_up(); }
    Counters counters() const override { return packs_->counters(); }

  private:
    Result<> all_let_through() const;
    Result<> write_index();
    Result<std::uint64_t> secure();
    Result<> look_at_parent();
    void keep_lock(std::stop_token stop);

    const Place place_;
    const std::optional<RevisionId> continues_;
    const std::uint64_t lost_before_;
    const SessionNumber number_;

    std::mutex secure_mutex_;  // one check of the lock at a time; held during I/O
    std::unique_ptr<RepositoryLock> lock_;
    bool must_look_ =
        false;  // the lock was lost and the index not looked at since; guarded by secure_mutex_
    std::atomic<std::uint64_t> generation_{0};  // how often the lock was lost

    std::unique_ptr<IndexWriter> indexes_;
    std::unique_ptr<PackWriter> packs_;
    std::jthread keeper_;
};

}  // namespace backup
