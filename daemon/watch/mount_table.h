// MountTable is what /proc/self/mountinfo said at one moment: which file systems lie at and below
// the paths of a set, and by what each can be watched. Pure parsing and lookup on a text, plus one
// function that reads the file; an immutable value. Format: proc(5).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/path.h"
#include "common/result.h"

namespace backup {

struct Mount {
    std::uint64_t id = 0, parent = 0;
    std::uint64_t device = 0;  // makedev(major, minor): as stat shows it, but for btrfs
    std::string root;          // the part of the file system that is mounted
    std::string place;         // where, unescaped bytes
    std::string type, source, super_options;
    bool read_only = false;
};

enum class VolumeClass : std::uint8_t {
    local,    // events can be had: ext4, xfs, btrfs, tmpfs, f2fs ...
    overlay,  // inotify, or the upper file system
    fuse,     // inotify and a short scan period
    remote,   // changes made elsewhere raise nothing: scan only (nfs, cifs, 9p, ceph ...)
    pseudo,   // never backed up by itself: proc, sysfs, devtmpfs, cgroup ...
};
VolumeClass volume_class(std::string_view type);

class MountTable {
  public:
    static Result<MountTable> read();  // of this process
    static Result<MountTable> parse(std::string_view mountinfo);

    // But for those that show at their place what would be there without them.
    const std::vector<Mount>& mounts() const { return mounts_; }
    // The mount that a path lies on: the longest place that is a prefix, the last one if several
    // are stacked. nullptr: none.
    const Mount* find(std::string_view path) const;
    // Visible mounts strictly below the path.
    std::vector<const Mount*> below(std::string_view path) const;

  private:
    void drop_repeated();
    std::vector<Mount> mounts_;
};

// Identity of a file system that survives remounts and reboots; the first of these that there is:
//
//   uuid:UUID              of the file system; btrfs: uuid:UUID:SUBVOLUME, the subvolume's own UUID
//                          (asked of the kernel, then of udev's links, then read off the device:
//                          ext2/3/4, xfs)
//   overlay:UPPER          the upper directory is what makes an overlay this one
//   TYPE:SOURCE            network and FUSE file systems; they are never asked, for they may hang
//   TYPE:SOURCE:FSID       else, with what statfs(2) says. tmpfs has a new one for each mount:
//   right,
//                          for its contents are new, too
//
// Never a device number alone. Mounts of different parts (bind mounts) have the same one.
Result<std::string> volume_id(const Mount& mount);

}  // namespace backup
