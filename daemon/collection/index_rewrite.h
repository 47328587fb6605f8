// Writes index files anew: without packs that are to go, small files together, marks apart. The new
// files say all that the old ones said of the packs that stay; nothing is removed here. Blocking.
#pragma once

#include <set>
#include <stop_token>
#include <vector>

#include "daemon/collection/inventory.h"

namespace backup {

struct IndexRewrite {
    std::vector<IndexId> written;
    std::vector<IndexId> obsolete;  // may be removed once the written ones are durable: they are
};

struct IndexChange {
    std::set<PackId> without;  // leave the index
    std::set<PackId> relist;   // stand among the marked with their blobs, and are packs again
    // All marks there are to be from now on; nothing: they stay as they are.
    std::optional<std::map<PackId, PackMark>> marks;
    // What there is stays, whatever else is asked for: the marks are written beside it. Of several
    // marks of a pack the latest counts.
    bool only_marks = false;
    // So many files with few blobs are put together; 0: only what must change is written.
    std::size_t most_small_files = 8;
};

// Each file is read back before this returns.
Result<IndexRewrite> rewrite_index(Repository& repository, const Inventory& inventory,
                                   const IndexChange& change, std::stop_token stop);

}  // namespace backup
