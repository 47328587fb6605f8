#include "daemon/watch/private_mount.h"

#include <cerrno>

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/watch/mount_table.h"

namespace backup {

namespace {

// By number: the C library of Debian 11 has no names for them.
int fs_open(const char* type) {
    return static_cast<int>(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}
int fs_config(int fs, unsigned command, const char* key, const char* value) {
    return static_cast<int>(syscall(SYS_fsconfig, fs, command, key, value, 0));
}
int fs_mount(int fs, unsigned attributes) {
    return static_cast<int>(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes));
}

// 0 or errno. A file system is read-only or not as a whole, and must be asked for as it is.
int try_mount(const std::string& device, bool read_only, UniqueFd& mounted) {
    const UniqueFd fs(fs_open("btrfs"));
    if (!fs) return errno;
    if (fs_config(fs.get(), FSCONFIG_SET_STRING, "source", device.c_str()) != 0 ||
        fs_config(fs.get(), FSCONFIG_SET_STRING, "subvolid", "5") != 0 ||
        (read_only && fs_config(fs.get(), FSCONFIG_SET_FLAG, "ro", nullptr) != 0) ||
        fs_config(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0)
        return errno;
    mounted.reset(fs_mount(fs.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                         MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME));
    return mounted ? 0 : errno;
}

}  // namespace

Result<UniqueFd> mount_top_level(const Path& place) {
    const MountTable table = TRY(MountTable::read());
    const Mount* mount = table.find(place.text());
    if (mount == nullptr || mount->type != "btrfs")
        return Error(ErrorKind::invalid, "a part of a file system whose whole cannot be watched: " +
                                             printable(place.text()));
    UniqueFd mounted;
    int error = try_mount(mount->source, mount->read_only, mounted);
    if (error == EBUSY) error = try_mount(mount->source, !mount->read_only, mounted);
    if (error != 0) {
        const Error cause = Error::from_errno(
            error, "mount the top level of " + printable(mount->source) + " to watch it");
        return Error(ErrorKind::invalid, cause.message());
    }
    return mounted;
}

}  // namespace backup
