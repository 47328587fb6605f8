// From the versions of one path, and the revisions that there are, to what people are shown: the
// distinct versions and the deletions between them. Pure; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/history/version.h"

namespace backup {

// A stretch of neighbouring revisions in which a path did not change, or was not there.
struct Stretch {
    bool deleted = false;
    Version version;  // of a deletion: what was deleted
    // Positions in the list of ordinals, the last one included.
    std::uint32_t first = 0, last = 0;

    std::uint32_t revisions() const { return last - first + 1; }
};

// `oldest_first`: not overlapping. `ordinals`: the revisions that count, ascending. Versions that
// none of them has are left out; equal ones with nothing between them are one. Before its first
// version a path was not deleted. Oldest first.
std::vector<Stretch> timeline(const std::vector<Version>& oldest_first,
                              const std::vector<Ordinal>& ordinals);

}  // namespace backup
