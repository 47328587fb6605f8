#include "daemon/archive/source_paths.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/sysmacros.h>

namespace backup {

FileIdentity identity_of(const struct statx& status) {
    return {makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino};
}

Result<SourcePaths> existing_paths(Fs& fs, const BackupSet& set, const std::vector<Path>& absent) {
    if (set.paths.empty())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "set " + set.id + " has no paths");
    SourcePaths paths;
    for (const Path& path : set.paths) {
        struct statx status;
        int error = fs.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status);
        if (error == 0 || std::ranges::find(absent, path) != absent.end())
            paths.found.push_back(path);
        else
            paths.missing.push_back(
                {path.text(),
                 Error::from_errno(-error, "stat").with_code(ErrorCode::no_such_path)});
    }
    if (!paths.found.empty()) return paths;
    const Exception& first = paths.missing.front();
    bool gone = first.error.kind() == ErrorKind::not_found;
    return Error(gone ? ErrorKind::not_found : first.error.kind(), ErrorCode::no_such_path,
                 "none of the paths of set " + set.id + " can be read; " + printable(first.path) +
                     ": " + first.error.message());
}

std::vector<FileIdentity> identities(Fs& fs, const std::vector<Path>& paths) {
    std::vector<FileIdentity> found;
    for (const Path& path : paths) {
        struct statx status;
        if (fs.status(AT_FDCWD, path.c_str(), 0, status) == 0) found.push_back(identity_of(status));
    }
    return found;
}

}  // namespace backup
