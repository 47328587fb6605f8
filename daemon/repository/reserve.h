// Room on the storage that backups leave free: a collection must be able to write its lock, its
// marks and new index files before it can remove anything. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "common/result.h"
#include "daemon/backend/backend.h"

namespace backup {

// A hundredth of the storage, 64 MiB at most.
inline std::uint64_t reserve_of(const SpaceInfo& space) {
    return std::min<std::uint64_t>(std::uint64_t{64} << 20, space.total_bytes / 100);
}

// `no_space` when less than this share of the reserve is left; fine where the storage cannot tell.
inline Result<> check_reserve(Backend& backend, std::uint64_t divided_by) {
    const std::optional<SpaceInfo> space = backend.space();
    if (!space || space->free_bytes >= reserve_of(*space) / divided_by) return {};
    return Error(ErrorKind::no_space, ErrorCode::no_space,
                 "the storage is full: the last " + std::to_string(reserve_of(*space) >> 10) +
                     " KiB are left free so that garbage can be collected (`backupctl gc`)");
}

}  // namespace backup
