#include "daemon/runtime/fs.h"

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace backup {

namespace {

template <typename Call>
auto retried(Call call) -> decltype(call()) {
    for (;;) {
        auto result = call();
        if (result >= 0) return result;
        if (errno != EINTR) return -errno;
    }
}

// The xattr calls know no directory descriptor; the links in /proc lead there whatever the length
// of the path.
std::string path_in(int directory, const char* name) {
    if (directory == AT_FDCWD) return name;
    return "/proc/self/fd/" + std::to_string(directory) + "/" + name;
}

}  // namespace

RealFs& RealFs::instance() {
    static RealFs fs;
    return fs;
}

int RealFs::open(int directory, const char* name, int flags) {
    int fd = retried([&] { return ::openat(directory, name, flags | O_CLOEXEC); });
    if (fd == -EPERM && (flags & O_NOATIME) != 0)
        fd = retried([&] { return ::openat(directory, name, (flags & ~O_NOATIME) | O_CLOEXEC); });
    return fd;
}

ssize_t RealFs::list(int directory, MutableByteView buffer) {
    return retried([&] {
        return static_cast<ssize_t>(
            ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size()));
    });
}

int RealFs::status(int directory, const char* name, int flags, struct statx& out) {
    return retried([&] { return ::statx(directory, name, flags, STATX_BASIC_STATS, &out); });
}

ssize_t RealFs::read(int fd, MutableByteView buffer) {
    return retried([&] { return ::read(fd, buffer.data(), buffer.size()); });
}

std::int64_t RealFs::seek(int fd, std::int64_t offset, int whence) {
    return retried([&] { return static_cast<std::int64_t>(::lseek(fd, offset, whence)); });
}

int RealFs::sync_data(int fd) {
    return retried([&] { return ::fdatasync(fd); });
}

std::int64_t RealFs::file_system_type(int fd) {
    struct statfs status;
    int error = retried([&] { return ::fstatfs(fd, &status); });
    return error < 0 ? error : static_cast<std::int64_t>(status.f_type);
}

void RealFs::advise(int fd, std::int64_t offset, std::int64_t length, int advice) {
    (void)::posix_fadvise(fd, offset, length, advice);
}

ssize_t RealFs::read_link(int directory, const char* name, MutableByteView buffer) {
    return retried([&] {
        return ::readlinkat(directory, name, reinterpret_cast<char*>(buffer.data()), buffer.size());
    });
}

ssize_t RealFs::list_xattrs(int fd, MutableByteView buffer) {
    return retried(
        [&] { return ::flistxattr(fd, reinterpret_cast<char*>(buffer.data()), buffer.size()); });
}

ssize_t RealFs::get_xattr(int fd, const char* xattr, MutableByteView buffer) {
    return retried([&] { return ::fgetxattr(fd, xattr, buffer.data(), buffer.size()); });
}

ssize_t RealFs::list_xattrs_at(int directory, const char* name, bool follow,
                               MutableByteView buffer) {
    std::string path = path_in(directory, name);
    char* out = reinterpret_cast<char*>(buffer.data());
    return retried([&] {
        return follow ? ::listxattr(path.c_str(), out, buffer.size())
                      : ::llistxattr(path.c_str(), out, buffer.size());
    });
}

ssize_t RealFs::get_xattr_at(int directory, const char* name, bool follow, const char* xattr,
                             MutableByteView buffer) {
    std::string path = path_in(directory, name);
    return retried([&] {
        return follow ? ::getxattr(path.c_str(), xattr, buffer.data(), buffer.size())
                      : ::lgetxattr(path.c_str(), xattr, buffer.data(), buffer.size());
    });
}

}  // namespace backup
