// IndexLoader keeps the BlobIndex equal to the index files of a repository: loads those that are
// new, drops those that vanished. Keeps a local copy of what was loaded (IndexTable), so that a
// start need not load it again and a large index is not in memory. Thread-safe. Blocking; loads
// with several threads, joined before it returns.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/index.h"
#include "daemon/repository/index_file.h"

namespace backup {

// The local copy of the index.
struct IndexCopy {
    std::string path;  // empty: none
    std::string repository_id;
    bool always = false;  // for tests: written whenever anything changed, however little
};

class IndexLoader {
  public:
    // `marked` receives the blobs of packs that another tool has marked for deletion: readable
    // while they last, but nothing new may rely on them.
    IndexLoader(Backend& backend, const MasterKey& key, unsigned version, BlobIndex& index,
                BlobIndex& marked, IndexCopy copy = {})
        : backend_(backend),
          key_(key),
          version_(version),
          index_(index),
          marked_(marked),
          copy_(std::move(copy)) {}

    // Without `broken` the first index file that cannot be loaded is the error, for what it lists
    // would be missing; with it such files are skipped and reported. `cancelled` on stop: what was
    // loaded so far stays.
    Result<> refresh(std::stop_token stop, std::vector<Error>* broken = nullptr);

    // What the loaded index files say of packs that are to be deleted. Of several marks of a pack
    // the latest counts.
    std::map<PackId, PackMark> marks();
    // Treated as if they were marked, for this process.
    void avoid(std::vector<PackId> packs);

    // For index files that we write ourselves. Announced before they are stored, so that a refresh
    // at the same time neither loads them a second time nor takes them for vanished.
    void announce(const IndexId& id);
    void withdraw(const IndexId& id);
    struct StoredPackNote {
        PackNumber pack;
        std::size_t blobs;
    };
    void stored(const IndexId& id, const std::vector<StoredPackNote>& packs);

    // Moves what is in memory to the local copy, if there is enough of it. `busy`: while a session
    // writes, so only when there is a lot. Failures are logged: nothing is lost.
    void spill(bool busy);

    struct File {
        bool is_loaded = false;  // else: announced, being stored
        std::vector<PackNumber> packs, marked_packs;
        std::vector<std::pair<PackId, PackMark>> marks;
    };

  private:
    // False if some could not be loaded and were reported in `broken`.
    // `changed_meanwhile`: some had vanished when they were to be read.
    Result<bool> load_all(const std::vector<IndexId>& wanted, const std::stop_token& stop,
                          std::vector<Error>* broken, bool& changed_meanwhile);
    Result<> forget(const std::vector<IndexId>& vanished);
    Result<> refresh_once(const std::stop_token& stop, std::vector<Error>* broken,
                          bool& changed_meanwhile);
    void tell_marks();
    Result<File> load(const IndexId& id);
    void drop(const std::vector<File>& files);
    void open_copy();
    bool is_spill_due(bool busy);
    Result<> write_copy();
    void note_listing(PackNumber pack, std::size_t blobs);
    void release(const std::vector<PackNumber>& packs);
    Result<> settle_disagreements(const std::map<IndexId, File>& dropped);

    Backend& backend_;
    const MasterKey& key_;
    const unsigned version_;
    BlobIndex& index_;
    BlobIndex& marked_;
    const IndexCopy copy_;

    std::mutex refresh_mutex_;  // one refresh or spill at a time; held during I/O
    bool copy_was_tried_ = false;
    std::size_t files_in_copy_ = 0;
    bool copy_failed_ = false;  // said once
    std::mutex mutex_;          // guards what follows
    std::map<IndexId, File> files_;
    std::vector<PackId> avoided_;
    std::vector<std::uint32_t>
        listed_;  // by pack number: how many blobs the last index file listed for it
    // Packs that two index files described differently (one was wrong, a repair replaced it). Both
    // are believed until one vanishes; then the pack is read again from those that are left.
    std::set<PackNumber> disputed_;
};

}  // namespace backup
