#include "daemon/jobs/scratch_folder.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/path.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

std::vector<std::string> names_in(int directory) {
    std::vector<std::string> names;
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return names;
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy), ::closedir);
    if (!list) return names;
    while (const dirent* entry = ::readdir(list.get()))
        if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
            names.emplace_back(entry->d_name);
    return names;
}

UniqueFd open_directory(int at, const std::string& name) {
    // Of our own, and perhaps with a mode that lets nobody in.
    struct stat status {};
    if (::fstatat(at, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode))
        return {};
    (void)::fchmodat(at, name.c_str(), 0700, 0);
    return UniqueFd(::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Directories within directories are moved up first, so nothing here is deep: neither the stack nor
// the number of open files grows with the tree.
void empty(int top) {
    std::vector<std::string> left = names_in(top);
    std::size_t moved = 0;
    while (!left.empty()) {
        const std::string name = std::move(left.back());
        left.pop_back();
        const UniqueFd directory = open_directory(top, name);
        if (!directory) {
            (void)::unlinkat(top, name.c_str(), 0);
            continue;
        }
        for (const std::string& inner : names_in(directory.get())) {
            if (::unlinkat(directory.get(), inner.c_str(), 0) == 0 || errno != EISDIR) continue;
            (void)::fchmodat(directory.get(), inner.c_str(), 0700, 0);
            if (::unlinkat(directory.get(), inner.c_str(), AT_REMOVEDIR) == 0) continue;
            for (std::string up;; ++moved) {
                up = ".moved-" + std::to_string(moved);
                if (::renameat(directory.get(), inner.c_str(), top, up.c_str()) == 0) {
                    left.push_back(up);
                    ++moved;
                    break;
                }
                if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) break;
            }
        }
        (void)::unlinkat(top, name.c_str(), AT_REMOVEDIR);
    }
}

void remove(const std::string& path, const UniqueFd& fd) {
    empty(fd.get());
    if (::rmdir(path.c_str()) != 0 && errno != ENOENT)
        log_warning("cannot remove " + printable(path) + ": " + std::strerror(errno));
}

}  // namespace

Result<ScratchFolder> ScratchFolder::make(const std::string& parent, const std::string& name) {
    TRY(make_folders(parent));
    std::string path = parent + "/" + name;
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return Error::from_errno(errno, "create " + printable(path));
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open " + printable(path));
    empty(fd.get());
    return ScratchFolder(std::move(path), std::move(fd));
}

ScratchFolder::~ScratchFolder() {
    if (fd_) remove(path_, fd_);
}

void ScratchFolder::clear(const std::string& parent) {
    const UniqueFd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd) empty(fd.get());
}

}  // namespace backup
