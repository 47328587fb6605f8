// What differs between two revisions of a set, told from their trees alone, without what nobody's
// change is needed for: for the comparison of a run that read everything with what was there before
// it. Blocking; loads only directories that differ. No recursion: depth costs memory alone.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/tree.h"

namespace backup {

struct TreeDifference {
    enum class Kind : std::uint8_t {
        content,  // other content with the same inode, size and times: nothing tells of the change
        changed,  // times, size or inode say so
        created,  // what lies below a created or gone directory is not told
        gone,
    };
    Kind kind{};
    std::string path;  // absolute
    bool is_directory = false;
    // As the newer revision has it; 0 for what is gone.
    std::uint64_t inode = 0, size = 0;
    FileTime mtime, ctime;
};

struct TreeComparison {
    std::uint64_t directories = 0;  // that differ
    std::uint64_t differences = 0;
};
// An error of `each` ends it.
Result<TreeComparison> compare_trees(BlobSource& source, const BlobId& before, const BlobId& after,
                                     const std::function<Result<>(const TreeDifference&)>& each,
                                     const std::stop_token& stop);

}  // namespace backup
