// RestoreSource is all that a writer needs of a repository: what was found of the request, and the
// door through which blobs come. A value; the blobs are borrowed.
#pragma once

#include <vector>

#include "daemon/access/access_rule.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/snapshot.h"
#include "daemon/restore/node_walk.h"

namespace backup {

struct RestoreSource {
    BlobSource* blobs = nullptr;
    Snapshot snapshot;
    std::vector<Selected> selected;
    AccessRule rule;  // whose restore it is
};

}  // namespace backup
