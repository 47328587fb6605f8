// DamageBook knows which copies of blobs turned out to be damaged: nothing new relies on them, so
// that the next run that meets such a blob stores it anew, and collections prefer other copies. It
// is kept in a local journal; losing that costs that the damage must be found again. A copy is
// struck out when its pack was read whole and found good, or is in no index any more.
// Thread-safe. add() and forget() write to the journal.
#pragma once

#include <atomic>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "common/id.h"
#include "daemon/repository/blob.h"

namespace backup {

struct DamagedCopy {
    PackId pack;
    std::optional<BlobHandle> blob;  // nothing: the whole pack
};

// Implemented by the state store. Thread-safe.
class DamageJournal {
  public:
    virtual ~DamageJournal() = default;
    virtual void remember(const std::string& repository_id,
                          const std::vector<DamagedCopy>& copies) = 0;
    virtual void forget(const std::string& repository_id, const std::vector<PackId>& packs) = 0;
    virtual std::vector<DamagedCopy> remembered(const std::string& repository_id) = 0;
};

class DamageBook {
  public:
    // Of the journal, which may be null, what it knows already.
    DamageBook(DamageJournal* journal, std::string repository_id);

    void add(const std::vector<DamagedCopy>& copies);
    void forget(const std::vector<PackId>& packs);

    // Cheap as long as nothing is damaged.
    bool any() const { return any_.load(std::memory_order_acquire); }
    bool has(const PackId& pack, const BlobHandle& blob) const;
    bool has_any_of(const PackId& pack) const;
    std::vector<PackId> packs() const;

  private:
    struct Damage {
        bool is_whole = false;
        std::unordered_set<BlobHandle> blobs;
    };
    bool note(const DamagedCopy& copy);

    DamageJournal* const journal_;
    const std::string repository_id_;
    std::atomic<bool> any_{false};
    mutable std::shared_mutex mutex_;  // guards packs_
    std::unordered_map<PackId, Damage> packs_;
};

}  // namespace backup
