// What the collector leaves alone although no snapshot names it: the work of an interrupted backup.
#pragma once

#include <optional>
#include <vector>

#include "common/id.h"

namespace backup {

struct KeptData {
    std::optional<BlobId> tree;  // and all below it, as far as it is there
    std::vector<BlobId> data;    // blobs, as far as they are there
    std::vector<PackId> packs;   // that no index names yet: the next run will
};

}  // namespace backup
