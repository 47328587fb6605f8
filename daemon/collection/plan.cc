#include "daemon/collection/plan.h"

#include <algorithm>
#include <array>

#include "daemon/repository/crypto.h"
#include "daemon/repository/pack.h"

namespace backup {

namespace {

// The header of a pack: an entry for each blob, sealed, and its length.
std::uint64_t overhead_of(const PackFacts& facts) {
    return kCompressedEntryBytes * facts.blobs + kSealOverhead + sizeof(std::uint32_t);
}

// How much of a pack is of no use, in percent. Header and trailer count as neither.
std::uint64_t waste_of(const PackFacts& facts) {
    if (facts.listed_size == 0) return 0;
    const std::uint64_t blobs = facts.listed_size - std::min(facts.listed_size, overhead_of(facts));
    if (blobs == 0) return 0;
    return 100 - std::min<std::uint64_t>(100, facts.used_bytes * 100 / blobs);
}

Error damaged(const PackFacts& facts) {
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                 "pack " + facts.id.hex() +
                     (facts.file_size == 0 ? " is needed and missing"
                                           : " is needed and has the wrong size") +
                     ": nothing is removed from a damaged repository (`backupctl verify` lists "
                     "what is lost)");
}

}  // namespace

Result<CollectionPlan> plan_collection(const Inventory& inventory, const CollectionLimits& limits,
                                       Timestamp now) {
    CollectionPlan plan;
    std::vector<std::uint32_t> wasteful;
    std::vector<std::uint32_t> broken;                // with damage that nobody needs any more
    std::array<std::vector<std::uint32_t>, 2> small;  // data, trees
    for (std::uint32_t at = 0; at < inventory.packs.size(); ++at) {
        const PackFacts& facts = inventory.packs[at];
        if (facts.is_needed()) {
            if (!facts.is_whole()) return damaged(facts);
            if (facts.mark) plan.unmark.push_back(at);
            if (!facts.is_listed) {
                plan.relist.push_back(at);
            } else if (facts.needs_damaged) {
                // Nothing can be copied from it, and nothing is to be lost that may be repaired.
            } else if (facts.is_damaged) {
                broken.push_back(at);
            } else if (waste_of(facts) > limits.waste_percent) {
                wasteful.push_back(at);
            } else if (facts.file_size < limits.small_pack_bytes) {
                small[facts.has_trees ? 1 : 0].push_back(at);
            }
            continue;
        }
        if (facts.is_kept && facts.file_size != 0) {
            if (facts.mark) plan.unmark.push_back(at);
        } else if (facts.file_size == 0) {
            if (facts.is_listed || facts.mark) plan.drop.push_back(at);
        } else if (!facts.mark) {
            plan.mark.push_back(at);
        } else if (facts.mark->time > now) {
            // Marked by a clock that was wrong, or is: the time begins anew.
            plan.mark.push_back(at);
        } else if (now - facts.mark->time >= limits.grace) {
            plan.sweep.push_back(at);
        }
    }
    // The most wasteful first: they give the most room for what is copied.
    std::ranges::sort(wasteful, std::greater{},
                      [&](std::uint32_t at) { return waste_of(inventory.packs[at]); });
    for (auto& kind : small)
        if (kind.size() >= limits.most_small_packs)
            wasteful.insert(wasteful.end(), kind.begin(), kind.end());
    wasteful.insert(wasteful.begin(), broken.begin(), broken.end());
    std::uint64_t copied = 0;
    for (std::uint32_t at : wasteful) {
        const std::uint64_t bytes = inventory.packs[at].used_bytes;
        if (copied + bytes > limits.most_copied_bytes) continue;
        copied += bytes;
        plan.repack.push_back(at);
    }
    return plan;
}

StorageAudit audit_storage(const Inventory& inventory) {
    StorageAudit audit;
    for (const PackFacts& facts : inventory.packs) {
        if (facts.file_size == 0) {
            audit.missing_packs += facts.is_listed ? 1 : 0;
            continue;
        }
        ++audit.packs;
        audit.listed_bytes += facts.file_size;
        if (facts.is_kept) {
            audit.live_bytes += facts.file_size;
        } else if (facts.is_needed()) {
            audit.live_bytes += facts.file_size;
            audit.waste_bytes +=
                facts.file_size - std::min(facts.file_size, facts.used_bytes + overhead_of(facts));
        } else if (facts.mark) {
            audit.grace_bytes += facts.file_size;
        } else {
            audit.orphan_bytes += facts.file_size;
        }
    }
    return audit;
}

}  // namespace backup
