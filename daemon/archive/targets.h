// TargetTree says where the paths of a set lie: the directories above them and which names in them
// were asked for. Pure. Nested paths are merged: the inner one is an explicit child of the outer
// one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/path.h"

namespace backup {

struct TargetNode {
    bool is_target = false;  // itself asked for: everything in it belongs to the revision
    bool is_inside = false;  // below such a one, and above another
    bool is_wanted() const { return is_target || is_inside; }
    // Names that must be looked at one by one, in the order of trees (bytes).
    std::map<std::string, std::unique_ptr<TargetNode>> children;
};

// The root stands for "/". Duplicates fall together.
std::unique_ptr<TargetNode> build_targets(const std::vector<Path>& paths);

}  // namespace backup
