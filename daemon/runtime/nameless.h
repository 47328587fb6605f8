// Touching a file system without a trace.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"

namespace backup {

// Makes a file that has no name in the directory, and closes it: whoever watches is told, nobody
// sees it, and no stamp of the directory moves. Its inode. An error where that cannot be.
Result<std::uint64_t> touch_nameless(const std::string& directory);

}  // namespace backup
