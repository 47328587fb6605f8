// Reread says of which files the stamps prove nothing: after a power loss a disk can hold newer
// data under an older ctime, or older data under the ctime of what was read. A value; read from
// several threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>

#include "daemon/repository/tree.h"

namespace backup {

struct Reread {
    FileTime since;                         // ctimes from here on
    std::unordered_set<std::string> paths;  // absolute
    std::unordered_set<std::uint64_t> inodes;
};

}  // namespace backup
