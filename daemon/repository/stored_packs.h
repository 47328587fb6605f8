// What becomes of packs that were stored and that no index file names, because the run that stored
// them was killed: they are found again by the next run of the same owner.
//
// Before a pack is stored its name and size are written down in a local journal; when an index file
// names it they are dropped. The journal is a hint and decides nothing: of what a pack holds only
// its own header tells, which the master key has signed, and only of a pack that the storage has
// in its right size. One that is marked to be removed is not taken up: the collector may be about
// to.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"

namespace backup {

class BlobIndex;
class IndexLoader;
class RepositoryLock;

struct JournalledPack {
    PackId id;
    std::uint64_t size = 0;
    Timestamp since{};
};

// Durable memory of packs that no index file names yet. Implemented by the state store. Losing it
// costs that they are stored again. Thread-safe.
class PackJournal {
  public:
    virtual ~PackJournal() = default;
    // Before the pack is stored.
    virtual void remember(const std::string& repository_id, const std::string& owner,
                          const JournalledPack& pack) = 0;
    virtual void forget(const std::string& repository_id, const std::vector<PackId>& packs) = 0;
    virtual std::vector<JournalledPack> remembered(const std::string& repository_id,
                                                   const std::string& owner) = 0;
};

struct StoredPacksPlace {
    Backend& backend;
    const MasterKey& key;
    unsigned version;
    std::string repository_id;
    BlobIndex& index;
    IndexLoader& loader;
    PackJournal& journal;
};

struct TakenUp {
    std::uint64_t packs = 0, bytes = 0;
};

// Names in index files what the owner's journal knows and the repository has, so that this session
// and all others find it. With the session's lock held and the index loaded under it. An error:
// what is in the journal stays there for the next time; the index is as it was, or better.
Result<TakenUp> take_up_packs(const StoredPacksPlace& place, const std::string& owner,
                              RepositoryLock& lock, std::stop_token stop);

}  // namespace backup
