// open(2) of an absolute path of any length. -errno, or a descriptor (the caller's).
#pragma once

#include <string>

namespace backup {

int open_path(const std::string& path, int flags);

}  // namespace backup
