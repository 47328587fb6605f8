// Fs is the seam between the daemon and the file system it reads: one virtual call per system call,
// so that tests can let files change, vanish and fail at a chosen moment.
//
// Calls answer like the kernel does, not with Result: a value >= 0, or -errno. The caller knows the
// path and what it was doing, and most failures here (a file that vanished) are no errors to it.
// Interrupted calls are repeated inside. Thread-safe; holds no state. Descriptors are real ones and
// owned by the caller (UniqueFd).
#pragma once

#include <cstddef>
#include <cstdint>

#include <sys/stat.h>
#include <sys/types.h>

#include "common/bytes.h"

namespace backup {

class Fs {
  public:
    virtual ~Fs() = default;

    // openat(2) with O_CLOEXEC added. O_NOATIME, when asked for, is dropped where only the owner
    // may use it.
    virtual int open(int directory, const char* name, int flags) = 0;
    // Raw getdents64(2) records; 0 at the end.
    virtual ssize_t list(int directory, MutableByteView buffer) = 0;
    // statx(2), basic fields. `flags`: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
    virtual int status(int directory, const char* name, int flags, struct statx& out) = 0;
    virtual ssize_t read(int fd, MutableByteView buffer) = 0;
    // lseek(2): SEEK_SET, SEEK_DATA, SEEK_HOLE.
    virtual std::int64_t seek(int fd, std::int64_t offset, int whence) = 0;
    // fdatasync(2); a descriptor for reading will do. May not come back on a frozen file system.
    virtual int sync_data(int fd) = 0;
    // f_type of fstatfs(2), one of <linux/magic.h>; or -errno.
    virtual std::int64_t file_system_type(int fd) = 0;
    // posix_fadvise(2); only ever a hint.
    virtual void advise(int fd, std::int64_t offset, std::int64_t length, int advice) = 0;
    virtual ssize_t read_link(int directory, const char* name, MutableByteView buffer) = 0;
    // NUL-separated names. An empty buffer asks for the size that is needed. Of an open file:
    virtual ssize_t list_xattrs(int fd, MutableByteView buffer) = 0;
    virtual ssize_t get_xattr(int fd, const char* xattr, MutableByteView buffer) = 0;
    // Of a name in a directory (AT_FDCWD for absolute names), for what must not or cannot be
    // opened. `follow`: of what a symbolic link leads to.
    virtual ssize_t list_xattrs_at(int directory, const char* name, bool follow,
                                   MutableByteView buffer) = 0;
    virtual ssize_t get_xattr_at(int directory, const char* name, bool follow, const char* xattr,
                                 MutableByteView buffer) = 0;
};

class RealFs : public Fs {
  public:
    // For everyone who needs no seam.
    static RealFs& instance();

    int open(int directory, const char* name, int flags) override;
    ssize_t list(int directory, MutableByteView buffer) override;
    int status(int directory, const char* name, int flags, struct statx& out) override;
    ssize_t read(int fd, MutableByteView buffer) override;
    std::int64_t seek(int fd, std::int64_t offset, int whence) override;
    int sync_data(int fd) override;
    std::int64_t file_system_type(int fd) override;
    void advise(int fd, std::int64_t offset, std::int64_t length, int advice) override;
    ssize_t read_link(int directory, const char* name, MutableByteView buffer) override;
    ssize_t list_xattrs(int fd, MutableByteView buffer) override;
    ssize_t get_xattr(int fd, const char* xattr, MutableByteView buffer) override;
    ssize_t list_xattrs_at(int directory, const char* name, bool follow,
                           MutableByteView buffer) override;
    ssize_t get_xattr_at(int directory, const char* name, bool follow, const char* xattr,
                         MutableByteView buffer) override;
};

}  // namespace backup
