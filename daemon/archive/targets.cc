#include "daemon/archive/targets.h"

namespace backup {

namespace {

// Not recursive: the depth of a path is the administrator's.
void mark_inside(TargetNode& root) {
    std::vector<TargetNode*> left{&root};
    while (!left.empty()) {
        TargetNode* node = left.back();
        left.pop_back();
        for (auto& [name, child] : node->children) {
            child->is_inside = node->is_wanted();
            left.push_back(child.get());
        }
    }
}

}  // namespace

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
    mark_inside(*root);
    return root;
}

}  // namespace backup
