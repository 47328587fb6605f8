// Which rule leaves a path of a set out, for people who ask. Pure: what the file system says comes
// in by a function. The walk of a backup decides the same, object by object.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

struct ObjectFacts {
    bool exists = false;
    bool is_directory = false, is_file = false, is_symlink = false;
    bool nodump = false;     // chattr +d
    bool cache_tag = false;  // a directory with a valid CACHEDIR.TAG
    std::uint64_t size = 0, device = 0;
};
using LookUp = std::function<ObjectFacts(const std::string& path)>;

struct RuleFound {
    // What the rule was found at: the path itself, or a directory above it.
    std::string path;
    // pattern cachedir-tag nodump larger-than one-file-system symlink own
    std::string rule;
    std::string pattern;
    std::string origin;  // file:line, as far as known
};

struct PathInSet {
    // The innermost path of the set that holds it. Nothing: the set does not.
    std::optional<Path> root;
    std::optional<RuleFound> excluded;
    // A pattern with "!" that takes it back in.
    std::optional<RuleFound> taken_in;
};

// `own`: directories of our own (state, local repositories) that are never entered. `invalid` for a
// pattern that does not compile.
Result<PathInSet> find_in_set(const BackupSet& set, const Path& path, const std::vector<Path>& own,
                              const LookUp& look_up);

}  // namespace backup
