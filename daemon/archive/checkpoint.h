// What a run has done so far, so that one that is killed need not be begun anew.
//
// A checkpoint is a tree like that of a revision, with what was done up to then: directories that
// are under way have the entries that are known. No snapshot names it: to restic it is garbage, and
// nobody restores it by mistake. The next run takes from it the nodes of files whose type, size,
// times and inode are still the same, as it takes them from the parent revision; whatever is
// missing in it, or in the repository by then, is read again. So a checkpoint can be old, partial
// or gone: that costs time, never a revision.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/tree.h"

namespace backup {

// A large file that was being read: its chunks up to a cut.
struct HalfFile {
    std::string path;  // absolute
    std::uint64_t inode = 0, size = 0;
    FileTime mtime, ctime;    // before the reading began
    std::uint64_t bytes = 0;  // that `content` stands for
    std::vector<BlobId> content;
};

struct Checkpoint {
    BlobId tree;
    // How much is in it, for people, and to tell the better one of two.
    std::uint64_t files = 0, bytes = 0;
    // Files whose content may have changed without a trace since it was read: absolute paths.
    std::vector<std::string> unsettled;
    std::vector<HalfFile> half;
};

// How often checkpoints are made: when so much was read since the last one and a hundredth of all
// that was read, or something at all and so much time has passed. And less often where they would
// hold the reading for more than a twentieth of the time.
struct CheckpointPace {
    std::uint64_t bytes = std::uint64_t{128} << 20;
    Duration period = std::chrono::minutes(5);
};

struct CheckpointPlan {
    CheckpointPace pace;
    // The walk was asked to stop: what it stores from now on is its last checkpoint.
    std::function<void()> wind_up;
    // The tree and what is below it were saved: makes them durable and remembers them. On a thread
    // of its own; an error is logged, and the walk goes on.
    std::function<Result<>(const Checkpoint&)> keep;
};

}  // namespace backup
