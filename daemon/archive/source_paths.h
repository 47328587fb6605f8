// What the paths of a set are on this machine now: which of them are there, and which directories
// must never be entered. No state.
#pragma once

#include <cstdint>
#include <vector>

#include <sys/stat.h>

#include "common/path.h"
#include "common/result.h"
#include "daemon/policy/policy.h"
#include "daemon/runtime/fs.h"
#include "daemon/runtime/progress.h"

namespace backup {

// Which object a directory is, whatever it is called.
struct FileIdentity {
    std::uint64_t device = 0, inode = 0;
    bool operator==(const FileIdentity&) const = default;
};
FileIdentity identity_of(const struct statx& status);

struct SourcePaths {
    std::vector<Path> found;
    std::vector<Exception> missing;  // no_such_path each
};
// The error: none of them is there (`not_found`/no_such_path), or the set has none.
// `absent`: those whose file system is missing count as found: the parent revision has them.
Result<SourcePaths> existing_paths(Fs& fs, const BackupSet& set,
                                   const std::vector<Path>& absent = {});

// Of those that are there.
std::vector<FileIdentity> identities(Fs& fs, const std::vector<Path>& paths);

}  // namespace backup
