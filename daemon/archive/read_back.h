// Reading a share of what a run stored, before its revision says that it is there. Blocks; reads in
// the order of the packs, on as many threads as the storage has connections: what takes the time is
// waiting for the storage.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "common/result.h"
#include "daemon/repository/blob_source.h"
#include "daemon/runtime/progress.h"

namespace backup {

struct ReadBackCounts {
    std::uint64_t blobs = 0, bytes = 0;  // bytes as they are stored
};

// `corrupt`/repository_damaged when the storage does not have what it was given, and names the
// pack; `cancelled` on a stop; other errors are those of reaching the storage.
Result<ReadBackCounts> read_back(BlobSource& source, const std::vector<BlobHandle>& blobs,
                                 unsigned connections, Progress& progress,
                                 const std::stop_token& stop);

}  // namespace backup
