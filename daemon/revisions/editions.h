// Editions of a revision: what is said of it (a pin, the trash) stands in the tags of its snapshot,
// and a change writes the snapshot anew. The first id of the chain is its identity. Pure.
#pragma once

#include <vector>

#include "daemon/repository/repository.h"

namespace backup {

const RevisionId& identity_of(const RevisionEntry& entry);

// Snapshots of which another one is a later edition, in the same words but for the tags: what a
// change of tags left behind because it was interrupted or may not delete.
std::vector<RevisionEntry> superseded_revisions(const std::vector<RevisionEntry>& entries);

}  // namespace backup
