// Lock files: who uses the repository, and whether alone. Pure codec; no I/O.
#pragma once

#include <cstdint>
#include <optional>
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
    // Fields of our own, which restic passes over. Empty program: another tool's lock.
    std::string program;             // "backupd"
    std::string purpose;             // "": a writer; "collect", "unlist": see lock.h
    std::optional<Timestamp> begin;  // when its holder began; does not move with a refresh
};

std::string encode_lock(const LockFile& lock);
Result<LockFile> decode_lock(ByteView json);

}  // namespace backup
