// Gives files back. Blocking; runs its own threads and joins them before it returns. Every file is
// written beside its target under a temporary name, verified, then renamed: at any point a path
// holds the old or the new content, whole. No symbolic link below the target directory is followed,
// whatever the revision says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <time.h>

#include "common/result.h"
#include "daemon/access/access_rule.h"
#include "daemon/backend/pace.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"
#include "daemon/runtime/progress.h"

namespace backup {

enum class ConflictMode : std::uint8_t { fail, keep_both, skip, newer, replace };
Result<ConflictMode> parse_conflict_mode(std::string_view text);
std::string_view to_string(ConflictMode mode);

// Something that exists and that the restore is going to replace, alter or remove. Paths are those
// below the target, with a leading "/".
struct TouchedObject {
    std::string path;
    bool is_directory = false;  // it alone, its metadata; what of its entries is touched is listed
};

// What must be known to take a restore back; told before it happens. Paths as in TouchedObject.
// Calls come from several threads, one at a time for sync().
class ChangeLog {
  public:
    virtual ~ChangeLog() = default;
    // Where nothing was: the object, a directory with everything in it. `source`: its path in the
    // revision.
    virtual void will_create(std::string_view path, std::string_view source) = 0;
    // An existing directory gains or loses entries; its mtime up to now.
    virtual void will_change_entries(std::string_view path, const timespec& mtime) = 0;
    // An existing directory gets other metadata.
    virtual void will_alter(std::string_view path) = 0;
    // The restore is done with the directory; its mtime from now on.
    virtual void left(std::string_view path, const timespec& mtime) = 0;
    // All that was told is durable.
    virtual Result<> sync() = 0;
};

struct RestoreRequest {
    RevisionId revision;
    std::vector<std::string> paths;  // absolute paths within the revision; empty: everything
    // Directory below which is written. In place: "/" and full_paths. The descriptor is borrowed.
    int target_fd = -1;
    // For a writer, which finds the target at this path, with its own rights and without following
    // a link. Empty: target_fd is it.
    std::string target_path;
    bool full_paths = false;  // false: /home/a/x lands as TARGET/x; true: as TARGET/home/a/x
    ConflictMode on_conflict = ConflictMode::fail;
    bool dry_run = false;
    bool verify = false;  // read back after writing
    // What gives rights to whoever runs it, or is the system's: setuid and setgid of files, device
    // nodes, security.* and trusted.* attributes. Neither given back nor compared, but listed.
    bool leaves_privileges = false;
    // One that was cut off: what it left takes room that is used again, so a lack of space is no
    // reason not to begin.
    bool goes_on = false;
    unsigned threads = 0;
    const Clock* clock = nullptr;

    // Remove what the revision does not have: in directories that were asked for and below, never
    // above, never on another file system.
    bool delete_others = false;
    // True: it is not to be removed, though the revision does not have it (it is not backed up, or
    // could not be read then). `source`: as in the revision; `path`: below the target.
    std::function<bool(const std::string& source, const std::string& path, bool is_directory)>
        spares;
    // Nothing of the revision is wanted: only `remove`.
    bool only_remove = false;
    // Objects below the target to be removed besides, directories with what is listed of their
    // content (children may stand in any order).
    std::vector<TouchedObject> remove;
    // Asked once, before the first change, when anything that exists will be touched: keeps its
    // present state. Gives the paths whose state could not be kept because they change all the
    // time: they are left alone. An error ends the restore, and nothing was changed. None: nothing
    // is kept.
    std::function<Result<std::unordered_set<std::string>>(const std::vector<TouchedObject>&)>
        protect;
    // Objects whose path below the target is longer cannot be kept, and are left alone.
    std::size_t longest_kept = SIZE_MAX;
    ChangeLog* change_log = nullptr;  // none: the restore cannot be taken back
    // Which existing directories may be altered where the mode says so. None: all.
    std::function<bool(const std::string& path)> alters;
    // What was changed after this is left alone. None: all is as it may be.
    std::optional<Timestamp> unchanged_since;
    // But for what an earlier part of the same undo has changed.
    std::function<bool(const std::string& path)> is_ours;
    // Existing directories that get this mtime in the end.
    std::vector<std::pair<std::string, timespec>> mtimes;
    std::shared_ptr<Pace> pace;  // of what is fetched; none: as fast as can be
};

struct RestoreCounts {
    std::uint64_t created = 0, replaced = 0, kept_both = 0, skipped = 0, unchanged = 0;
    std::uint64_t deleted = 0, spared = 0;  // spared: not in the revision, and yet not removed
    std::uint64_t set_aside = 0;            // in use or changed meanwhile: left as they are
    std::uint64_t failed = 0;
    std::uint64_t files = 0, directories = 0, others = 0;
    std::uint64_t bytes = 0;          // content written
    std::uint64_t bytes_fetched = 0;  // read from the repository
    std::uint64_t bytes_resumed = 0;  // found again of a restore that was cut off
    // Sizes of the files that are made, that give way to them, that are removed.
    std::uint64_t bytes_created = 0, bytes_replaced = 0, bytes_deleted = 0;
    std::uint64_t space_needed = 0, space_free = 0;  // of the fullest file system; 0: not asked
};

// One line of a plan: what will happen to a path (below the target).
struct PlannedStep {
    std::string action;  // create replace alter keep-both delete
    std::string path;
    std::uint64_t bytes = 0;
};

struct RestoreResult {
    RestoreCounts counts;
    // With `fail` and at least one conflict nothing was written; the first of them.
    std::vector<std::string> conflicts;
    std::uint64_t conflict_count = 0;
    // Of a dry run: the steps, most of them if there are very many.
    std::vector<PlannedStep> steps;
    // Of a dry run: metadata that the target cannot hold, in words.
    std::vector<std::string> cannot_hold;
};

// Errors: `not_found`/no_such_revision or no_such_path; conflicts under `fail` are the error
// `conflict`/conflict whose message counts them (nothing was written), and so is what could not be
// protected; `no_space` before anything is written when it does not suffice. Objects that could not
// be restored whole go to `exceptions` (kind `corrupt` for damage), all others are restored.
Result<RestoreResult> run_restore(const RestoreRequest& request, Repository& repository,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop);
// The same in two steps, for a writer that has no repository: who has it finds what is asked for,
// as far as the rule shows it; the writer gives it back.
struct RestoreSource;
Result<RestoreSource> open_source(const RestoreRequest& request, Repository& repository,
                                  const AccessRule& rule, std::stop_token stop);
Result<RestoreResult> run_restore(const RestoreRequest& request, const RestoreSource& source,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop);

// A node found by its path in a revision.
struct FoundNode {
    std::string path;
    Node node;
};
// `no_such_path` when it is not in the revision, or behind a directory that the rule does not let
// pass: both in the same words. "/" gives a node of type dir without metadata. The node itself may
// be one that the rule does not let open.
Result<FoundNode> find_node(Repository& repository, const BlobId& root_tree, std::string_view path,
                            const AccessRule& rule = {});
// Visits a directory (or a single file) in name order; recursive: depth first, explicit stack, no
// recursion limit. `denied`/access_denied when the rule does not let the directory be listed; those
// below it that it does not let be listed are visited themselves, and not entered.
Result<> visit_nodes(Repository& repository, const FoundNode& start, bool recursive,
                     const std::function<Result<>(const std::string& path, const Node& node)>& each,
                     std::stop_token stop, const AccessRule& rule = {});
// Writes a file's content in order to `write`; verified blob by blob.
Result<> read_content(Repository& repository, const Node& file,
                      const std::function<Result<>(ByteView)>& write, std::stop_token stop);

}  // namespace backup
