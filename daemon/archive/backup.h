// One backup: source tree to revision. Blocking; runs its own threads and joins them before it
// returns. Memory is bounded in bytes whatever the tree holds, but for one directory's own listing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/path.h"
#include "common/result.h"
#include "daemon/archive/admission.h"
#include "daemon/archive/change_signs.h"
#include "daemon/archive/checkpoint.h"
#include "daemon/archive/reread.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"
#include "daemon/runtime/fs.h"
#include "daemon/runtime/progress.h"

namespace backup {

// What the pipeline must look at. A metadata comparison looks at everything; change tracking names
// the changed paths, and every subtree it does not name is taken from the parent revision by id,
// without a system call. Called from several threads.
class LookAt {
  public:
    enum class Directory : std::uint8_t {
        untouched,  // nothing below changed: keep the parent's subtree by id
        entries,    // look at the entries that `entry` names; keep the other nodes as they are
        all,        // list it and compare every entry
    };
    virtual ~LookAt() = default;
    virtual Directory directory(const std::string& path) const = 0;
    // Asked for children of a directory answered with `entries`: names to stat again (created,
    // changed, deleted), subdirectories that have something to look at below included.
    virtual std::vector<std::string> entries(const std::string& path) const = 0;
    // True: content must be read although size, times and inode are those of the parent.
    virtual bool must_read(const std::string& path) const = 0;
    // For a directory that is not where the parent revision has it: its absolute path there, if it
    // is the same directory and nothing but its name and what else is marked changed since. The
    // walk takes it only if the node there has the same inode. Asked when the parent revision has
    // nothing, or another object, under the present name.
    virtual std::optional<std::string> was_at(const std::string& path) const {
        static_cast<void>(path);
        return std::nullopt;
    }
    // True: somebody can change this file's content without an event and without moving its ctime
    // (a mapping, asynchronous writes). Its pages are cleaned before the reading, and the copy
    // counts as settled only if the ctime has been the same for long enough.
    virtual bool may_be_written(const std::string& path) const {
        static_cast<void>(path);
        return false;
    }
};

struct BackupRequest {
    const BackupSet* set = nullptr;
    std::optional<RevisionEntry> parent;  // nothing: everything is new
    bool full = false;                // read all content again; the parent still gives the summary
    const LookAt* look_at = nullptr;  // nullptr: everything, by metadata
    std::string trigger = "user";
    std::uint64_t number = 1;  // of the revision within its set
    std::string hostname;
    unsigned threads = 0;             // 0: chosen from the machine
    std::string tree_rules = "auto";  // "auto", "go119", "go122"
    WriteOptions write;
    // Directories never entered: the local repository itself, our state. Compared by device and
    // inode.
    std::vector<Path> never_enter;
    const Clock* clock = nullptr;  // nullptr: the system's
    Fs* fs = nullptr;              // nullptr: the real one
    // Told the absolute path of each file whose stored copy may be older than what the next run
    // would read although nothing will show it: it changed while it was read, or somebody may be
    // writing to it. Its node can have the very stat that the file has then, so the next run's
    // LookAt must name it and answer must_read(). From several threads.
    std::function<void(const std::string& path)> unsettled;
    // Where a file system is missing that the parent revision has: these paths are kept as they are
    // there, whatever lies there now.
    std::vector<Path> absent;
    // Files of which equal stamps prove nothing: their content is read. So is that of paths of the
    // set that are files. nullptr: none.
    const Reread* reread = nullptr;
    // True: some of what the revision holds is known to be older than it (`absent`).
    bool has_gap = false;
    // Asked when everything was read and nothing is visible yet, if there is a parent: an error
    // ends the run with it, what was stored is checkpointed, no revision appears.
    std::function<Result<>(const ChangeSigns&)> review;
    // What an interrupted run left: files in it that have not changed since are not read again.
    std::optional<Checkpoint> resumed;
    // Told what could be resumed if the run ended now; from a thread of its own. When it is told,
    // all of it is in the repository. None: no checkpoints are made.
    std::function<Result<>(const Checkpoint&)> keep_checkpoint;
    CheckpointPace checkpoint_pace;
    // Of the blobs that this run stores, the share that is read back from the storage and checked
    // before the revision is made. One that is not what was stored: `corrupt`/repository_damaged,
    // no revision appears.
    double read_back_percent = 0;
    // Time is short: what is small comes before what is large, whatever the order of the tree.
    bool small_first = false;
    // What counts for the limit of this day already, of the set's earlier runs.
    std::uint64_t churn_before = 0;
};

struct BackupCounts {
    std::uint64_t files_new = 0, files_changed = 0, files_removed = 0, files_unmodified = 0;
    std::uint64_t dirs_new = 0, dirs_changed = 0, dirs_unmodified = 0;
    std::uint64_t dirs_read = 0;   // directories listed
    std::uint64_t files_read = 0;  // files opened for content
    std::uint64_t bytes_read = 0;
    // Found again from an interrupted run: files not opened, bytes not read.
    std::uint64_t files_resumed = 0, bytes_resumed = 0;
    std::uint64_t blobs_new = 0, data_blobs_new = 0, tree_blobs_new = 0;
    std::uint64_t bytes_added = 0, bytes_stored = 0;
    std::uint64_t total_files = 0, total_bytes = 0;
    std::uint64_t blobs_read_back = 0, bytes_read_back = 0;  // sealed bytes
};

struct BackupResult {
    RevisionId revision;
    BlobId tree;
    Snapshot snapshot;
    BackupCounts counts;
    LimitReport limits;
};

// Takes the shared lock, walks, stores, commits. Unreadable objects go to `exceptions` and the run
// goes on; a set path that is missing is an exception, all of them missing is an error
// (`not_found`/no_such_path). What the set's hard limits do not let in is told as exceptions with
// the code quota_exceeded. Cancelled through `stop`: `cancelled`, what was stored so far is
// checkpointed, no revision appears.
Result<BackupResult> run_backup(const BackupRequest& request, Repository& repository,
                                Progress& progress, ExceptionLog& exceptions, std::stop_token stop);

}  // namespace backup
