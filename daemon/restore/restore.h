// Gives files back. Blocking; runs its own threads and joins them before it returns. Every file is
// written beside its target under a temporary name, verified, then renamed: at any point a path
// holds the old or the new content, whole. No symbolic link below the target directory is followed,
// whatever the revision says.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"
#include "daemon/runtime/progress.h"

namespace backup {

enum class ConflictMode : std::uint8_t { fail, keep_both, skip, newer, replace };
Result<ConflictMode> parse_conflict_mode(std::string_view text);
std::string_view to_string(ConflictMode mode);

struct RestoreRequest {
    RevisionId revision;
    std::vector<std::string> paths;  // absolute paths within the revision; empty: everything
    // Directory below which is written. In place: "/" and full_paths. The descriptor is borrowed.
    int target_fd = -1;
    bool full_paths = false;  // false: /home/a/x lands as TARGET/x; true: as TARGET/home/a/x
    ConflictMode on_conflict = ConflictMode::fail;
    bool dry_run = false;
    bool verify = false;  // read back after writing
    unsigned threads = 0;
    const Clock* clock = nullptr;
};

struct RestoreCounts {
    std::uint64_t created = 0, replaced = 0, kept_both = 0, skipped = 0, unchanged = 0;
    std::uint64_t failed = 0;
    std::uint64_t files = 0, directories = 0, others = 0;
    std::uint64_t bytes = 0;          // content written
    std::uint64_t bytes_fetched = 0;  // read from the repository
};

struct RestoreResult {
    RestoreCounts counts;
    // With `fail` and at least one conflict nothing was written; the first of them.
    std::vector<std::string> conflicts;
    std::uint64_t conflict_count = 0;
};

// Errors: `not_found`/no_such_revision or no_such_path; conflicts under `fail` are the error
// `conflict`/conflict whose message counts them (nothing was written). Objects that could not be
// restored whole go to `exceptions` (kind `corrupt` for damage), all others are restored.
Result<RestoreResult> run_restore(const RestoreRequest& request, Repository& repository,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop);

// A node found by its path in a revision.
struct FoundNode {
    std::string path;
    Node node;
};
// `no_such_path` when it is not in the revision. "/" gives a node of type dir without metadata.
Result<FoundNode> find_node(Repository& repository, const BlobId& root_tree, std::string_view path);
// Visits a directory (or a single file) in name order; recursive: depth first, explicit stack, no
// recursion limit.
Result<> visit_nodes(Repository& repository, const FoundNode& start, bool recursive,
                     const std::function<Result<>(const std::string& path, const Node& node)>& each,
                     std::stop_token stop);
// Writes a file's content in order to `write`; verified blob by blob.
Result<> read_content(Repository& repository, const Node& file,
                      const std::function<Result<>(ByteView)>& write, std::stop_token stop);

}  // namespace backup
