// Keeps the present state of named objects in a revision of its own, with the directories above
// them and nothing else: what a restore is about to replace or remove. Blocking; runs its own
// threads and joins them before it returns.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/archive/backup.h"
#include "daemon/repository/repository.h"
#include "daemon/runtime/progress.h"

namespace backup {

struct ObjectToKeep {
    std::string path;           // absolute, without symbolic links above
    bool is_directory = false;  // its metadata; of its entries only those that are named, too
};

struct KeepRequest {
    std::vector<ObjectToKeep> objects;
    std::vector<std::string> places;  // paths of the snapshot, for people
    RevisionTags tags;
    std::string hostname;
    std::string tree_rules = "auto";  // see BackupRequest
    unsigned threads = 0;
    WriteOptions write;
    const Clock* clock = nullptr;  // nullptr: the system's
};

struct KeptObjects {
    RevisionId revision;
    BackupCounts counts;
    // Files that somebody is writing to: what was kept of them may be no state that they ever had.
    std::unordered_set<std::string> unsettled;
};

// What vanished meanwhile is left out. Anything else that cannot be read is an error, and there is
// no revision.
Result<KeptObjects> keep_objects(const KeepRequest& request, Repository& repository,
                                 Progress& progress, std::stop_token stop);

}  // namespace backup
