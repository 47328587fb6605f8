// The life of revisions after they were made: what the rules of a set say of them, forgetting,
// taking back, pins. Blocking; on job and I/O threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/jobs/catalog.h"
#include "daemon/jobs/guard_book.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/retention/retention.h"
#include "daemon/revisions/revise.h"
#include "daemon/tracking/tracker.h"

namespace backup {

// Why no rule may forget a revision of the set now: a source is missing, or something is asked
// about it. Empty: they may. Waits up to 10 s for who has just begun to look; any thread but the
// loop's.
std::string frozen_now(const BackupSet& set, const GuardBook& guards, const Tracker* tracker,
                       const std::stop_token& stop);

// What the rules say of every revision of a set that is not in the trash, newest first. Only those
// of this machine: others, and snapshots of other programs, are not there.
std::vector<RetentionDecision> plan_retention(const std::vector<Revision>& revisions,
                                              const BackupSet& set, Timestamp now,
                                              const std::string& frozen);

// The handle with which the earlier edition of a snapshot is removed; none where nothing may be.
DeletingBackend* deleting_of(const OpenRepository& opened, const RepositoryPolicy& policy);

struct ReviseTask {
    BackupSet set;
    std::vector<RevisionId> revisions;
    RevisionChange change;
    DeletingBackend* deleting = nullptr;
    Tracker* tracker = nullptr;
};
// As revise(), and what continues such a revision continues the new edition.
Result<std::vector<RevisedRevision>> revise_revisions(Repository& repository,
                                                      const ReviseTask& task, std::stop_token stop);

struct ForgetTask {
    RepositoryPolicy repository;
    BackupSet set;
    // By the rules of the set as they are when the job runs; else these, as resolve_revision()
    // takes them.
    bool by_policy = false;
    std::vector<std::string> revisions;
    const GuardBook* guards = nullptr;  // for rules
    Tracker* tracker = nullptr;
};
// Moves to the trash. Pinned revisions among those named: `conflict`, nothing is forgotten. The
// job's lines say which, and for each that stays which rule keeps it.
JobBody forget_body(RepositoryPool& pool, const Clock& clock, ForgetTask task);

struct CollectTask {
    std::shared_ptr<const Policy> policy;
    std::string repository;
    bool dry_run = false;
    bool apply_rules = false;  // of all sets of the repository, first
    bool empty_trash = false;  // whatever its age; of these sets, or of all
    std::vector<std::string> sets;
    const GuardBook* guards = nullptr;
    Tracker* tracker = nullptr;
    StateStore* store = nullptr;  // of checkpoints, which are left alone
};
// Rules, trash, then what nobody needs; see daemon/collection/collector.h. A storage that lets
// nothing be removed: `denied`/policy_denied, and it says so.
JobBody collect_body(RepositoryPool& pool, const Clock& clock, CollectTask task);
void remember_collect(StateStore& store, const JobRecord& record);

// Where every byte of the storage belongs; changes nothing.
JobBody audit_body(RepositoryPool& pool, StateStore& store, const Clock& clock,
                   std::string repository);

}  // namespace backup
