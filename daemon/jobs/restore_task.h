// Restores as jobs: what a restore needs besides the restore room itself, which is to keep what it
// replaces, to write down how it can be taken back, and to name older versions of what is damaged.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/access/caller.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/jobs/undo_book.h"
#include "daemon/policy/policy.h"
#include "daemon/restore/restore.h"
#include "daemon/runtime/allowance.h"
#include "daemon/runtime/precedence.h"
#include "daemon/writer/writer_process.h"

namespace backup {

// What all kinds of restores have in common.
struct RestorePlace {
    // Who asked.
    Caller caller{.uid = 0, .gids = {}, .sees_all = true};
    // Whose rights the process has that writes; none: this one writes, the daemon of the person
    // himself.
    std::optional<writer::Rights> written_with;
    bool as_root = false;  // an administrator let him be root for this
    RepositoryHandle repository;
    std::shared_ptr<const Policy> policy;
    BackupSet set;  // whose revision it is; its line keeps what is replaced
    std::string undo_folder;
    Precedence* precedence = nullptr;  // held while it runs
    // How long it may be, of what all such restores have together; none: as long as it runs.
    std::shared_ptr<Allowance> precedence_allowed;
    std::shared_ptr<Pace> pace;  // of what it fetches; none: as fast as can be
};

struct RestoreTask {
    RestorePlace place;
    RevisionId revision;
    std::vector<std::string> paths;
    UniqueFd target;
    // Not empty: the target is what the process that writes finds at this path; `target` is no more
    // than what there is to look at.
    std::string target_path;
    bool full_paths = false, dry_run = false, verify = false, delete_others = false;
    ConflictMode on_conflict = ConflictMode::fail;
    std::uint64_t resumes = 0;
    // See RestoreRequest; `path` absolute.
    std::function<bool(const std::string& source, const std::string& path, bool is_directory)>
        spares;
    std::string name;               // of the revision, for people
    std::size_t missing_below = 0;  // paths that could not be read when it was made
};
JobBody restore_body(const Clock& clock, RestoreTask task);

struct UndoTask {
    RestorePlace place;
    // The restore, and those that it went on with, newest first.
    std::vector<UndoRecord> records;
    Timestamp ended{};  // of the newest: what changed after it is left alone
    bool dry_run = false, verify = false;
};
JobBody undo_body(const Clock& clock, UndoTask task);

// Where a descriptor leads, without symbolic links. An error when its directory has no name any
// more.
Result<std::string> path_of_directory(int fd);

// Gives back what the place's caller may have, written as the place says.
Result<RestoreResult> restore_for(const RestorePlace& place, const RestoreRequest& request,
                                  JobContext& job);

// Keeps what is to be touched in a revision of its own, which the log names. `target`: the
// directory that the paths are below.
Result<std::unordered_set<std::string>> keep_touched(const RestorePlace& place,
                                                     const std::string& target,
                                                     const std::vector<TouchedObject>& touched,
                                                     UndoLog& log, const Clock& clock,
                                                     JobContext& job);

// The longest path below the target that can be kept: it is looked up as a whole.
std::size_t longest_kept(const std::string& target);

// For what could not be had because of damage (exceptions of the job): where an older version of
// each is whole, as hints of the outcome.
// Only what the rule shows.
void name_older(Repository& repository, const RevisionId& revision, JobContext& job,
                JobOutcome& outcome, Timestamp now, const AccessRule& rule = {});

std::vector<std::pair<std::string, std::uint64_t>> counts_of(const RestoreResult& result);
void add_plan(const RestoreResult& result, JobOutcome& outcome, Timestamp now);

}  // namespace backup
