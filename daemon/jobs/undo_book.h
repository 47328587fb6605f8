// The undo book says of each restore what is needed to take it back, or to go on with it: what was
// asked for, the revision that holds what it replaced, what it created, and the times of the
// directories it worked in. One file per job, written ahead of the changes; a lost one costs the
// undo of what was created, never data: what was replaced is in the repository. See decision 0035.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/restore/restore.h"
#include "daemon/watch/mount_table.h"

namespace backup {

// How long a restore can be taken back.
inline constexpr Duration kUndoKept = std::chrono::hours(24 * 30);

struct UndoRecord {
    std::uint64_t job = 0;
    // The request.
    std::string set, repository, repository_id;
    std::string revision;            // hex; of an undo: empty
    std::string target;              // absolute, no symbolic links; "/": in place
    std::vector<std::string> paths;  // none: everything
    std::string on_conflict = "fail";
    bool full_paths = false, verify = false, delete_others = false;
    // Of people other than root: what an administrator consented to.
    bool all = false, as_root = false;
    std::uint64_t resumes = 0;  // the job that this one goes on with
    std::uint64_t undoes = 0;   // the job that this one takes back

    // What happened. Absolute paths.
    std::vector<std::string> kept;  // revisions, in the order they were made
    struct Created {
        std::string path, source;  // source: in the revision
    };
    std::vector<Created> created;
    std::map<std::string, timespec> entries;  // mtimes before
    std::map<std::string, timespec> left;     // and after; none of a restore that was cut off
    std::vector<std::string> altered;         // directories that got other metadata
    // Where the file systems were mounted that it worked in, and which they are (volume_id() of
    // daemon/watch/mount_table.h); none for "/".
    std::map<std::string, std::string> volumes;

    bool has_changes() const { return !kept.empty() || !created.empty() || !entries.empty(); }
};

// Writes the file of one job. Thread-safe.
class UndoLog final : public ChangeLog {
  public:
    static Result<std::unique_ptr<UndoLog>> begin(const std::string& folder,
                                                  const UndoRecord& request);

    void will_create(std::string_view path, std::string_view source) override;
    void will_change_entries(std::string_view path, const timespec& mtime) override;
    void will_alter(std::string_view path) override;
    void left(std::string_view path, const timespec& mtime) override;
    Result<> sync() override;
    void kept(const std::string& revision);

  private:
    UndoLog(UniqueFd fd, std::string target);
    std::string absolute(std::string_view path) const;
    void add(std::string line);
    void note_volume_of(const std::string& path);

    const UniqueFd fd_;
    const std::string target_;
    const std::optional<MountTable> mounts_;
    std::mutex mutex_;  // guards all below
    std::string waiting_;
    std::set<std::string> noted_;  // places of mounts
};

// `not_found`/no_such_job: nothing is known of a restore by that number.
Result<UndoRecord> read_undo(const std::string& folder, std::uint64_t job);
// The file systems that the restore worked in are mounted where they were. `conflict` names the one
// that is not: what lies there now is something else.
Result<> check_volumes(const UndoRecord& record);
// Drops what is older than kUndoKept.
void expire_undo(const std::string& folder, Timestamp now);

}  // namespace backup
