#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/log.h"
#include "daemon/watch/fanotify_watcher.h"
#include "daemon/watch/mount_table.h"
#include "daemon/watch/private_mount.h"

namespace backup {

namespace {

constexpr unsigned kInit =
    FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID | FAN_REPORT_DFID_NAME;
constexpr std::uint64_t kMask =
    FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_ONDIR;

Error refused(int error, const char* what) {
    const auto kind = error == EPERM || error == EACCES ? ErrorKind::denied : ErrorKind::invalid;
    const Error cause = Error::from_errno(error, what);
    const char* remedy =
        error == EPERM ? "; it takes CAP_SYS_ADMIN, which the system's service has" : "";
    return Error(kind, "fanotify: " + cause.message() + remedy);
}

// The flags of kernels since 5.17, less what this one does not know.
Result<FanotifyGroup> make_group() {
    FanotifyGroup group;
    for (const unsigned limits : {unsigned{FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS}, 0U}) {
        for (const unsigned target : {unsigned{FAN_REPORT_TARGET_FID}, 0U}) {
            group.init_flags = kInit | limits | target;
            group.fd.reset(fanotify_init(group.init_flags, O_RDONLY | O_CLOEXEC | O_LARGEFILE));
            if (group.fd) {
                if (target == 0)
                    log_notice(
                        "this kernel does not tell which directory was made or renamed; "
                        "such directories are scanned");
                return group;
            }
            if (errno != EINVAL) break;
        }
        if (errno != EPERM) break;
    }
    return refused(errno, "make a group");
}

int mark(FanotifyGroup& group, int directory, const char* path) {
    for (const std::uint64_t moves : {std::uint64_t{FAN_RENAME}, std::uint64_t{FAN_MOVE}}) {
        group.mask = kMask | moves;
        if (fanotify_mark(group.fd.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, group.mask, directory,
                          path) == 0) {
            if (moves == FAN_MOVE)
                log_notice(
                    "this kernel reports the two sides of a rename apart; directories that "
                    "are renamed are scanned");
            return 0;
        }
        if (errno != EINVAL) break;
    }
    return errno;
}

}  // namespace

Result<FanotifyGroup> make_fanotify_group(const Path& root) {
    FanotifyGroup group = TRY(make_group());
    int error = mark(group, AT_FDCWD, root.c_str());
    if (error == 0) return group;
    if (error != EXDEV) return refused(error, "mark the file system");
    // A subvolume of btrfs: its file system id is not that of the whole. The mark belongs to the
    // file system and stays when the mount it was made through goes.
    const UniqueFd top = TRY(mount_top_level(root));
    error = mark(group, top.get(), ".");
    if (error == 0) return group;
    return refused(error, "mark the file system through its top level");
}

bool is_marked(int group, std::uint64_t device) {
    std::array<char, 48> name{};
    std::snprintf(name.data(), name.size(), "/proc/self/fdinfo/%d", group);
    std::ifstream info(name.data());
    std::string line;
    while (std::getline(info, line)) {
        unsigned marked = 0;
        // The kernel's own form of a device number: 12 bits and 20.
        if (std::sscanf(line.c_str(), "fanotify sdev:%x", &marked) == 1 &&
            makedev(marked >> 20, marked & 0xfffff) == device)
            return true;
    }
    return false;
}

Result<std::unique_ptr<Watcher>> watch_with_fanotify(const std::vector<Path>& roots,
                                                     WatchOptions options,
                                                     UniqueFd inherited_group) {
    if (roots.empty()) return Error(ErrorKind::invalid, "nothing to watch");
    const MountTable table = TRY(MountTable::read());
    std::uint64_t device = 0;
    for (const Path& root : roots) {
        const Mount* mount = table.find(root.text());
        if (mount == nullptr)
            return Error(ErrorKind::invalid, "no mount for " + printable(root.text()));
        switch (volume_class(mount->type)) {
            case VolumeClass::local:
                break;
            case VolumeClass::overlay:
            case VolumeClass::fuse:
            case VolumeClass::remote:
            case VolumeClass::pseudo:
                return Error(ErrorKind::invalid,
                             "fanotify cannot watch a file system of type " + mount->type);
        }
        struct stat status {};
        if (stat(root.c_str(), &status) != 0)
            return Error::from_errno(errno, "look at " + printable(root.text()));
        // Where things are is told without links: nothing would be found below this place.
        const std::unique_ptr<char, decltype(&std::free)> real(realpath(root.c_str(), nullptr),
                                                               std::free);
        if (!real || root.text() != real.get())
            return Error(ErrorKind::invalid,
                         "fanotify: a symbolic link leads to " + printable(root.text()) +
                             "; better put the place itself, " +
                             (real ? printable(real.get()) : "once it is there") +
                             ", into the set");
        if (!S_ISDIR(status.st_mode))
            return Error(ErrorKind::invalid, printable(root.text()) + " is not a directory");
        if (device == 0) device = mount->device;
        if (mount->device != device)
            return Error(ErrorKind::invalid, "the places to watch lie on several file systems");
    }
    auto watcher = std::make_unique<FanotifyWatcher>(roots, device, std::move(options));
    TRY(watcher->start(std::move(inherited_group)));
    return std::unique_ptr<Watcher>(std::move(watcher));
}

}  // namespace backup
