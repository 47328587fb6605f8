// A mount of a whole btrfs file system, whichever subvolume is mounted where: seen by nobody, and
// gone with its descriptor.
#pragma once

#include "common/path.h"
#include "common/result.h"
#include "common/unique_fd.h"

namespace backup {

// Of the file system that `place` lies on. `invalid` if it is not btrfs or the mount is refused, so
// that another way of watching can be chosen. Needs CAP_SYS_ADMIN and the device in /dev.
Result<UniqueFd> mount_top_level(const Path& place);

}  // namespace backup
