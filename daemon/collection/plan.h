// What a collection will do with each pack. Pure: facts in, a plan out; --dry-run shows it, the
// collector carries it out.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/collection/inventory.h"

namespace backup {

struct CollectionLimits {
    Duration grace = std::chrono::hours(24);
    // A listed pack with more garbage than this is written anew.
    unsigned waste_percent = 25;
    // So are small packs once there are this many of a kind.
    std::uint64_t small_pack_bytes = std::uint64_t{4} << 20;
    std::size_t most_small_packs = 16;
    // At most so much is copied in one run.
    std::uint64_t most_copied_bytes = std::uint64_t{4} << 30;
};

// Places in Inventory::packs.
struct CollectionPlan {
    std::vector<std::uint32_t> mark;    // needed by nobody since now
    std::vector<std::uint32_t> unmark;  // marked, but somebody needs it after all
    std::vector<std::uint32_t> relist;  // needed, and no index lists it any more
    // Partly needed, or partly damaged and all that is needed intact: what is needed is copied,
    // then they are marked.
    std::vector<std::uint32_t> repack;
    std::vector<std::uint32_t> sweep;  // marked long enough ago, and still needed by nobody
    std::vector<std::uint32_t> drop;   // listed, not there, not needed: leaves the index
};

// `corrupt`/repository_damaged when a pack that is needed is missing or of another size.
Result<CollectionPlan> plan_collection(const Inventory& inventory, const CollectionLimits& limits,
                                       Timestamp now);

// Every byte that the storage lists is one of these.
struct StorageAudit {
    std::uint64_t listed_bytes = 0;  // all pack files
    // Packs that somebody needs, and those of an interrupted backup that no index names yet.
    std::uint64_t live_bytes = 0;
    std::uint64_t grace_bytes = 0;   // marked, waiting
    std::uint64_t orphan_bytes = 0;  // needed by nobody, and not marked yet
    std::uint64_t waste_bytes = 0;   // within the live: blobs that nobody needs
    std::uint64_t packs = 0, missing_packs = 0;
};
StorageAudit audit_storage(const Inventory& inventory);

}  // namespace backup
