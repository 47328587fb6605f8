// IndexLoader keeps the BlobIndex equal to the index files of a repository: loads those that are
// new, drops those that vanished. Thread-safe. Blocking; loads with several threads, joined before
// it returns.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <vector>

#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/index.h"

namespace backup {

class IndexLoader {
  public:
    // `marked` receives the blobs of packs that another tool has marked for deletion: readable
    // while they last, but nothing new may rely on them.
    IndexLoader(Backend& backend, const MasterKey& key, unsigned version, BlobIndex& index,
                BlobIndex& marked)
        : backend_(backend), key_(key), version_(version), index_(index), marked_(marked) {}

    // Without `broken` the first index file that cannot be loaded is the error, for what it lists
    // would be missing; with it such files are skipped and reported. `cancelled` on stop: what was
    // loaded so far stays.
    Result<> refresh(std::stop_token stop, std::vector<Error>* broken = nullptr);

    // For index files that we write ourselves. Announced before they are stored, so that a refresh
    // at the same time neither loads them a second time nor takes them for vanished.
    void announce(const IndexId& id);
    void withdraw(const IndexId& id);
    void stored(const IndexId& id, std::vector<PackNumber> packs);

    struct File {
        bool is_loaded = false;  // else: announced, being stored
        std::vector<PackNumber> packs, marked_packs;
    };

  private:
    // False if some could not be loaded and were reported in `broken`.
    Result<bool> load_all(const std::vector<IndexId>& wanted, const std::stop_token& stop,
                          std::vector<Error>* broken);
    Result<> forget(const std::vector<IndexId>& vanished);
    Result<File> load(const IndexId& id);
    void drop(const File& file);
    void note_listing(PackNumber pack, std::size_t blobs);
    Result<> settle_disagreements(const std::map<IndexId, File>& dropped);

    Backend& backend_;
    const MasterKey& key_;
    const unsigned version_;
    BlobIndex& index_;
    BlobIndex& marked_;

    std::mutex refresh_mutex_;  // one refresh at a time; held during I/O
    std::mutex mutex_;          // guards what follows
    std::map<IndexId, File> files_;
    std::vector<std::uint32_t>
        listed_;  // by pack number: how many blobs the last index file listed for it
    // Packs that two index files described differently (one was wrong, a repair replaced it). Both
    // are believed until one vanishes; then the pack is read again from those that are left.
    std::set<PackNumber> disputed_;
};

}  // namespace backup
