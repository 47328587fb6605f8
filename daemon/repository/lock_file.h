// Lock files: who uses the repository, and whether alone. Pure codec; no I/O.
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/result.h"

namespace backup {

struct LockFile {
    Timestamp time{};
    bool exclusive = false;
    std::string hostname, username;
    std::int64_t pid = 0;
    std::uint32_t uid = 0, gid = 0;
};

std::string encode_lock(const LockFile& lock);
Result<LockFile> decode_lock(ByteView json);

}  // namespace backup
