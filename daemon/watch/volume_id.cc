#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "common/bytes.h"
#include "common/unique_fd.h"
#include "daemon/watch/mount_table.h"

namespace backup {

namespace {

using Uuid = std::array<std::uint8_t, 16>;

// FS_IOC_GETFSUUID of Linux 6.9, which the headers of Debian 12 do not have.
struct FsUuid {
    std::uint8_t length;
    std::uint8_t uuid[16];
};
constexpr unsigned long kGetFsUuid = _IOR(0x15, 0, FsUuid);

bool is_set(const Uuid& uuid) {
    return uuid != Uuid{};
}

std::string to_text(const Uuid& uuid) {
    std::string text;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += to_hex({&uuid[i], 1});
    }
    return text;
}

std::optional<std::string> from_kernel(int place) {
    FsUuid answer{};
    if (ioctl(place, kGetFsUuid, &answer) != 0 || answer.length != sizeof(answer.uuid))
        return std::nullopt;
    Uuid uuid{};
    std::memcpy(uuid.data(), answer.uuid, uuid.size());
    if (!is_set(uuid)) return std::nullopt;
    return to_text(uuid);
}

std::optional<std::string> of_btrfs(int place) {
    btrfs_ioctl_fs_info_args whole{};
    if (ioctl(place, BTRFS_IOC_FS_INFO, &whole) != 0) return std::nullopt;
    Uuid uuid{};
    std::memcpy(uuid.data(), whole.fsid, uuid.size());
    std::string text = to_text(uuid);
    btrfs_ioctl_get_subvol_info_args part{};
    if (ioctl(place, BTRFS_IOC_GET_SUBVOL_INFO, &part) == 0) {
        std::memcpy(uuid.data(), part.uuid, uuid.size());
        // The top level of file systems made long ago has none; its number will do.
        text += ':' + (is_set(uuid) ? to_text(uuid) : std::to_string(part.treeid));
    }
    return text;
}

// udev's links: each leads to a device node.
std::optional<std::string> from_links(std::uint64_t device) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/disk/by-uuid", error)) {
        struct stat status {};
        if (stat(entry.path().c_str(), &status) == 0 && S_ISBLK(status.st_mode) &&
            status.st_rdev == device)
            return entry.path().filename().string();
    }
    return std::nullopt;
}

// ext2/3/4: superblock at 1024, magic 0xef53 at 56, UUID at 104. xfs: "XFSB" at 0, UUID at 32.
std::optional<std::string> from_superblock(const Mount& mount) {
    const UniqueFd disk(open(mount.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status {};
    if (!disk || fstat(disk.get(), &status) != 0 || !S_ISBLK(status.st_mode) ||
        status.st_rdev != mount.device)
        return std::nullopt;
    std::array<std::uint8_t, 2048> begin{};
    if (pread(disk.get(), begin.data(), begin.size(), 0) != static_cast<ssize_t>(begin.size()))
        return std::nullopt;
    Uuid uuid{};
    if (std::memcmp(begin.data(), "XFSB", 4) == 0)
        std::memcpy(uuid.data(), &begin[32], uuid.size());
    else if (begin[1024 + 56] == 0x53 && begin[1024 + 57] == 0xef)
        std::memcpy(uuid.data(), &begin[1024 + 104], uuid.size());
    if (!is_set(uuid)) return std::nullopt;
    return to_text(uuid);
}

std::string option(const std::string& options, std::string_view wanted) {
    std::string_view rest(options);
    while (!rest.empty()) {
        const auto end = std::min(rest.find(','), rest.size());
        const std::string_view one = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (one.substr(0, wanted.size()) == wanted) return std::string(one.substr(wanted.size()));
    }
    return {};
}

}  // namespace

Result<std::string> volume_id(const Mount& mount) {
    switch (volume_class(mount.type)) {
        case VolumeClass::overlay:
            return "overlay:" + option(mount.super_options, "upperdir=");
        case VolumeClass::fuse:
        case VolumeClass::remote:
        case VolumeClass::pseudo:
            return mount.type + ":" + mount.source;
        case VolumeClass::local:
            break;
    }
    const UniqueFd place(open(mount.place.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!place) return Error::from_errno(errno, "open " + printable(mount.place));
    std::optional<std::string> uuid =
        mount.type == "btrfs" ? of_btrfs(place.get()) : from_kernel(place.get());
    if (!uuid) uuid = from_links(mount.device);
    if (!uuid) uuid = from_superblock(mount);
    if (uuid) return "uuid:" + *uuid;
    struct statfs status {};
    if (fstatfs(place.get(), &status) != 0)
        return Error::from_errno(errno, "look at " + printable(mount.place));
    std::array<char, 40> number{};
    std::snprintf(number.data(), number.size(), ":%08x%08x",
                  static_cast<unsigned>(status.f_fsid.__val[0]),
                  static_cast<unsigned>(status.f_fsid.__val[1]));
    return mount.type + ":" + mount.source + number.data();
}

}  // namespace backup
