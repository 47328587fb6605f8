// Checks a repository: structure always, data on request. Read only; creates nothing, takes no
// lock; safe beside backups and beside whoever removes what is not needed: errors of a repository
// that changed meanwhile are looked for again. Blocking; runs its own threads, joined before it
// returns.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "daemon/repository/repository.h"
#include "daemon/runtime/progress.h"

namespace backup {

struct CheckRequest {
    // Revisions whose trees are walked; empty: all of them.
    std::vector<RevisionId> revisions;
    // Share of the packs whose bytes are read and verified, 0 (structure only) to 100. A sample is
    // drawn at random; packs with known damage are always read.
    double data_percent = 0;
    unsigned threads = 0;  // 0: one per core
};

struct CheckFinding {
    enum class Severity : std::uint8_t { hint, error };
    Severity severity;
    std::string object;  // "pack 1a2b...", "tree 3c4d... at /home/a"
    std::string message;
};

struct CheckResult {
    std::vector<CheckFinding> findings;  // the first 10,000
    std::uint64_t errors = 0, hints = 0;
    std::uint64_t packs = 0, packs_read = 0, bytes_read = 0, blobs_checked = 0;
    std::uint64_t trees = 0, revisions = 0, orphan_packs = 0, orphan_bytes = 0;
};

Result<CheckResult> check_repository(Repository& repository, const CheckRequest& request,
                                     Progress& progress, std::stop_token stop);

}  // namespace backup
