// What differs between two revisions, or between a revision and the live file system. Blocking;
// for threads that stream. Directories whose trees are the same are not read; the live file system
// is compared by what lstat tells, as explain does, and never followed through symbolic links.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "daemon/access/access_rule.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct Difference {
    const std::string& path;
    // added removed content metadata kind; of what could not be read: "problem".
    std::string_view change;
    const Node* before = nullptr;
    const Node* after = nullptr;
    std::string problem = {};
};
using EachDifference = std::function<Result<>(const Difference&)>;

// `no_such_path` when neither has the path, as far as the rule shows. A directory that it does not
// let be listed on one of the sides is a problem, whether it differs or not; of files that it does
// not let be read only what a listing tells is compared.
Result<> compare_revisions(Repository& repository, const BlobId& from, const BlobId& to,
                           const Path& path, const EachDifference& each, std::stop_token stop,
                           const AccessRule& rule = {});
// `own`: places of ours that no set takes in.
Result<> compare_with_disk(Repository& repository, const BlobId& from, const BackupSet& set,
                           const std::vector<Path>& own, Fs& fs, const Path& path,
                           const EachDifference& each, std::stop_token stop);

}  // namespace backup
