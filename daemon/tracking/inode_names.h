// Names of files in a revision by their inode numbers, found by reading all of its trees: some
// microseconds per directory, so only for changes whose names no event told. Blocking; starts a
// second thread and joins it. Inode numbers of different file systems are not told apart: whoever
// asks looks at a few names too many.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/blob_source.h"

namespace backup {

// Pairs of an inode and an absolute path of the revision, in no order; directories are not told. A
// tree that cannot be read is an error, for names may be missing then.
Result<std::vector<std::pair<std::uint64_t, std::string>>> names_of_inodes(
    BlobSource& source, const BlobId& root, const std::vector<std::uint64_t>& inodes,
    std::stop_token stop = {});

// The same for all files that have more than one name.
Result<std::vector<std::pair<std::uint64_t, std::string>>> names_of_linked_files(
    BlobSource& source, const BlobId& root, std::stop_token stop = {});

}  // namespace backup
