// What snapshots need: walks their trees, each once, and marks every blob in the inventory.
// Blocking; starts threads and joins them.
#pragma once

#include <stop_token>
#include <vector>

#include "daemon/collection/inventory.h"
#include "daemon/collection/kept_data.h"
#include "daemon/runtime/progress.h"

namespace backup {

struct ReachableOptions {
    unsigned threads = 0;  // 0: chosen from the machine
    // A blob that the inventory has not is accepted if the repository's index has it by now: it was
    // stored since the inventory was read. Else it is damage.
    bool may_be_newer = false;
};

// An error, `corrupt`/repository_damaged, for a tree that cannot be read or a blob that is nowhere:
// nobody knows then what is needed.
Result<> mark_reachable(Repository& repository, const std::vector<RevisionEntry>& revisions,
                        Inventory& inventory, const ReachableOptions& options, Progress& progress,
                        std::stop_token stop);

// The same for the work of interrupted backups, as far as it is there: what is missing is read
// again by the run that goes on, and so is no damage. After mark_reachable(): what both need was
// looked at there.
Result<> mark_kept(Repository& repository, const std::vector<KeptData>& kept, Inventory& inventory,
                   Progress& progress, std::stop_token stop);

}  // namespace backup
