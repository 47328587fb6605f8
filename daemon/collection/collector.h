// The collector removes what no revision needs any more, and nothing else; it alone is given a
// handle that deletes. Two phases, which may be run by different hosts:
//
//   mark    A pack that nobody needs is marked with a time, in an index file (PackMark). It stays
//           where it is and in the index; but from then on no session of ours relies on it.
//           Packs with much garbage are marked once what is needed of them was copied.
//   sweep   A pack marked a grace ago, and still needed by nobody, leaves the index and then the
//           storage.
//
// What is needed is found out anew in every run, from all snapshots and trees. Why no backup loses
// anything by it:
//   - A session that began after the mark does not rely on the pack. One that began before has a
//     lock that says so, and while it stands the pack stays (not only for the grace).
//   - Packs leave the index under an `unlist` lock: no other program is writing then, and one that
//     begins later reads the new index. Snapshots made up to that moment are looked at once more.
//   - New index files are read back before old ones are removed, and those before packs are.
// So at every moment, and at every point of a crash, every revision is whole for stock restic.
//
// Blocking; starts threads and joins them. A run that is stopped or killed is taken up by the next.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "daemon/backend/backend.h"
#include "daemon/collection/kept_data.h"
#include "daemon/collection/plan.h"
#include "daemon/repository/repository.h"
#include "daemon/runtime/progress.h"

namespace backup {

struct CollectRequest {
    CollectionLimits limits;
    Duration trash = std::chrono::hours(7 * 24);  // 0: everything in the trash goes now
    // Whose trash may be emptied: (set, host). Other machines have times of their own.
    std::set<std::pair<std::string, std::string>> own_sets;
    std::uint64_t bytes_per_second = 0;  // copied; 0: no limit
    bool dry_run = false;
    // That no revision is listed cannot be true: then nothing is marked or removed.
    bool expects_revisions = false;
    // Told before the last revision of the repository is removed.
    std::function<Result<>()> emptying;
    // What interrupted backups of this machine left; asked for before anything is looked at.
    std::function<Result<std::vector<KeptData>>()> kept;
    WriteOptions write;
};

struct CollectResult {
    StorageAudit before;
    std::uint64_t revisions_removed = 0;  // from the trash, and leftovers of changed tags
    std::uint64_t revisions_left = 0;
    std::uint64_t packs_marked = 0, bytes_marked = 0;
    std::uint64_t packs_recovered = 0;  // marked, and needed after all
    std::uint64_t packs_copied = 0, bytes_copied = 0;
    std::uint64_t packs_removed = 0, bytes_removed = 0;
    std::uint64_t index_files_removed = 0;
    std::uint64_t packs_waiting = 0;  // due, but something stands in the way:
    std::string waits_for;            // "user@host (process 12), shared, since ..."
};

// `conflict`/repository_locked while another collector works; `conflict` when the clock of somebody
// who holds a lock is far ahead of ours. `message` tells people what goes on.
Result<CollectResult> collect(Repository& repository, DeletingBackend& deleting,
                              const CollectRequest& request, Progress& progress,
                              const std::function<void(const std::string&)>& message,
                              std::stop_token stop);

// Proves where every byte belongs; needs no lock, changes nothing.
// What is `kept` counts as live.
Result<StorageAudit> audit(Repository& repository, Progress& progress, std::stop_token stop,
                           const std::vector<KeptData>& kept = {});

}  // namespace backup
