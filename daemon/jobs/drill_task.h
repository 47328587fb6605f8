// Drills: files of the newest revision, chosen at random, are given back into a folder of our own,
// looked at, compared with the live files that are known to be unchanged, and removed again. See
// decision 0070.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/jobs/job.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/tracking/tracker.h"

namespace backup {

struct DrillTask {
    BackupSet set;
    std::vector<std::string> paths;  // named ones; none: of all, at random
    std::vector<std::string> again;  // what earlier drills could not give back: tried besides
    std::string folder;              // of ours, for all drills
    Tracker* tracker = nullptr;      // none: unchanged is what has the same stamps
    std::shared_ptr<Pace> pace;
    bool written_apart = false;  // by the process that writes what root gets back
};

// What a drill found out. Written by the body, read when it is over.
struct DrillVerdict {
    bool is_reached = false;         // it came to one
    bool is_random = false;          // it speaks for the set, not only for what was named
    std::vector<std::string> tried;  // paths, those that are no longer in the revision included
    std::vector<std::string> failed;
    bool is_all_lost = false;  // the revision itself could not be had
};

// Something that cannot be given back as the revision has it, or is not as it is on disk: the job
// fails with RepositoryDamaged, each is an exception of it, older versions that are whole are
// hints.
JobBody drill_body(RepositoryPool& pool, const Clock& clock, DrillTask task,
                   std::shared_ptr<DrillVerdict> verdict);
// The set's drills after this one.
void note_drill(SetRecord& set, const JobRecord& record, const DrillVerdict& verdict);
void remember_drill(StateStore& store, const JobRecord& record, const DrillVerdict& verdict);

// Removes what drills of a daemon that died have left. Before the first one.
void clear_drills(const std::string& folder);

}  // namespace backup
