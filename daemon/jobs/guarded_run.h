// GuardedRun stands between a backup and its revision: is the source there, and is what changed
// what somebody meant to change? Decided by daemon/guard; carried out here. A job's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "daemon/guard/guard.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/guard_book.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/revisions/revise.h"
#include "daemon/runtime/fs.h"
#include "daemon/tracking/tracker.h"

namespace backup {

class GuardedRun {
  public:
    // All outlive it. `parent`: the revision that is continued. `clean`: the newest that counts;
    // see clean_before().
    GuardedRun(GuardBook& book, const Policy& policy, const BackupSet& set,
               const OpenRepository& opened, Tracker* tracker, const Revision& parent,
               const std::optional<Revision>& clean, JobContext& job, Timestamp now);

    // Before anything is read. The error: the run is held. `absent`: where a file system is known
    // to be away.
    Result<> look(const std::vector<Path>& absent);
    // Who else makes revisions of this line. `last_number`: the last that this machine remembers;
    // 0: it remembers none. `was_running`: whether it made a backup of the set at that time.
    Result<> look_for_others(const std::vector<Revision>& revisions, std::uint64_t last_number,
                             const std::function<bool(Timestamp)>& was_running);
    // When everything was read; looks at the source once more. The error: the run is held, or the
    // last clean revision cannot be pinned.
    Result<> review(const ChangeSigns& signs);
    // The revision is there.
    void committed(const RevisionId& made);

  private:
    Result<MissingPart> missing_part();
    Result<bool> was_full(const Path& path, const struct statx* now);
    Result<bool> pin(const GuardQuestion& question);
    Result<> revise_one(const RevisionId& revision, const RevisionChange& change);
    Error held(const std::string& why) const;

    GuardBook& book_;
    const Policy& policy_;
    const BackupSet& set_;
    const OpenRepository& opened_;
    Tracker* const tracker_;
    const Revision& parent_;
    JobContext& job_;
    const GuardedRunFacts facts_;
    std::vector<Path> absent_;
    bool is_missing_ = false;
};

// The one that a mass change is measured against: the parent or, if that is in the trash, the
// newest revision that is not.
std::optional<Revision> clean_before(const std::vector<Revision>& newest_first,
                                     const SetOnHost& set, const Revision& parent);
// What a rejection moves to the trash: what the set made after the clean revision, but for what is
// pinned. Adopted revisions may have higher numbers and be older.
std::vector<RevisionId> made_since(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                   const Revision& clean);
// The revision that a question calls clean, as it is called now, be it in the trash; nothing: it is
// not there any more.
std::optional<Revision> clean_revision(const std::vector<Revision>& revisions, const SetOnHost& set,
                                       const GuardQuestion& question);

}  // namespace backup
