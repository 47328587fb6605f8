#include "daemon/watch/open_path.h"

#include <cerrno>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/runtime/fs.h"
#include "daemon/watch/watcher.h"

namespace backup {

namespace {

// The name of the directory (device, inode) in `parent`.
std::optional<std::string> name_in(int parent, const struct stat& wanted) {
    const int copy = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(copy < 0 ? nullptr : fdopendir(copy), closedir);
    if (dir == nullptr) {
        if (copy >= 0) close(copy);
        return std::nullopt;
    }
    while (const dirent* entry = readdir(dir.get())) {
        // Below a mount point the entry has the inode that is hidden.
        const bool is_candidate = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
        const std::string name = entry->d_name;
        if (!is_candidate || name == "." || name == "..") continue;
        struct stat status {};
        if (fstatat(parent, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino)
            return name;
    }
    return std::nullopt;
}

std::optional<std::string> told_path(int directory) {
    char text[4096];  // not zeroed
    const std::string link = "/proc/self/fd/" + std::to_string(directory);
    const ssize_t length = readlink(link.c_str(), text, sizeof(text));
    if (length <= 0 || static_cast<std::size_t>(length) >= sizeof(text)) return std::nullopt;
    return std::string(text, static_cast<std::size_t>(length));
}

}  // namespace

int open_path(const std::string& path, int flags) {
    constexpr std::size_t kMost = 4095;  // PATH_MAX less the NUL
    UniqueFd at;
    std::size_t begin = 0;
    while (path.size() - begin > kMost) {
        const std::size_t end = path.rfind('/', begin + kMost);
        if (end == std::string::npos || end <= begin) return -ENAMETOOLONG;
        const std::string part = path.substr(begin, end - begin);
        const int fd = RealFs::instance().open(at ? at.get() : AT_FDCWD, part.c_str(),
                                               O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) return fd;
        at.reset(fd);
        begin = end + 1;
    }
    return RealFs::instance().open(at ? at.get() : AT_FDCWD, path.c_str() + begin, flags);
}

std::optional<std::string> path_of_deep_directory(int directory) {
    constexpr int kMostSteps = 100'000;
    std::string below;
    UniqueFd at;
    int fd = directory;
    for (int step = 0; step < kMostSteps; ++step) {
        if (auto path = told_path(fd)) return *path + below;
        struct stat status {
        }, above{};
        UniqueFd parent(openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!parent || fstat(fd, &status) != 0 || fstat(parent.get(), &above) != 0 ||
            (status.st_dev == above.st_dev && status.st_ino == above.st_ino))
            return std::nullopt;
        auto name = name_in(parent.get(), status);
        if (!name) return std::nullopt;
        below.insert(0, "/" + *name);
        at = std::move(parent);
        fd = at.get();
    }
    return std::nullopt;
}

Result<ObjectHandle> handle_of_path(const std::string& path) {
    if (path.size() < 4096) return handle_of(AT_FDCWD, path.c_str());
    const int fd = open_path(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return Error::from_errno(-fd, "open a path of " + std::to_string(path.size()) + " bytes");
    const UniqueFd object(fd);
    return handle_of(object.get(), "");
}

}  // namespace backup
