// What the kinds of jobs do: bodies that run on a job's thread. Each opens what it needs through
// the pool, so that even a slow storage delays nobody else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/guard_book.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/checker.h"
#include "daemon/tracking/tracker.h"

namespace backup {

struct BackupTask {
    std::shared_ptr<const Policy> policy;  // as it was when the job was asked for
    std::string set;
    bool full = false;
    std::string trigger;
    std::uint64_t last_number = 0;  // remembered, should the repository know none
    bool mends = false;             // what it relies on may be gone: everything is compared
    std::string state_dir;          // never entered, nor any local repository
    StateStore* store = nullptr;    // of checkpoints; none: none are made or taken up
    Tracker* tracker = nullptr;     // none: everything is compared
    GuardBook* guard = nullptr;     // none: nothing is asked about
    Precedence* gives_way_to = nullptr;
    // Whether this machine made a backup of the set at that time.
    std::function<bool(Timestamp)> was_running;
    std::shared_ptr<Pace> pace;      // of its uploads; none: as fast as can be
    bool time_is_short = false;      // a window will close
    std::uint64_t churn_before = 0;  // see BackupRequest
};
// Folders of our own, which no backup enters: the state, local repositories.
std::vector<Path> own_places(const Policy& policy, const std::string& state_dir);
JobBody backup_body(RepositoryPool& pool, const Clock& clock, BackupTask task);

struct CheckTask {
    std::string repository;
    std::vector<RevisionId> revisions;
    double data_percent = 0;
};
// Errors found: the job fails with RepositoryDamaged, the findings are its report.
JobBody check_body(RepositoryPool& pool, CheckTask task);
// What a check leaves behind: when, and what it found.
void remember_check(StateStore& store, const JobRecord& record);
// Of a run that made a revision: whether it read everything, and what it found by that.
void note_full(SetRecord& set, const JobRecord& record);
void remember_backup(StateStore& store, const JobRecord& record, std::uint64_t number);

}  // namespace backup
