#include "daemon/archive/targets.h"

namespace backup {

std::unique_ptr<TargetNode> build_targets(const std::vector<Path>& paths) {
    auto root = std::make_unique<TargetNode>();
    for (const Path& path : paths) {
        TargetNode* node = root.get();
        for (std::string_view component : path.components()) {
            std::unique_ptr<TargetNode>& child = node->children[std::string(component)];
            if (!child) child = std::make_unique<TargetNode>();
            node = child.get();
        }
        node->is_target = true;
    }
    return root;
}

}  // namespace backup
