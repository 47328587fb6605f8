// Absolute paths of any length: the kernel takes and tells 4,095 bytes at a time.
#pragma once

#include <optional>
#include <string>

#include "common/result.h"
#include "daemon/watch/handle.h"

namespace backup {

// open(2). -errno, or a descriptor (the caller's).
int open_path(const std::string& path, int flags);

// Where a directory is that lies too deep for the kernel to say: found by going up. Reads the
// directories on the way as far as the kernel cannot tell. Nothing: gone, or being renamed.
std::optional<std::string> path_of_deep_directory(int directory);

// handle_of() for a path of any length.
Result<ObjectHandle> handle_of_path(const std::string& path);

}  // namespace backup
