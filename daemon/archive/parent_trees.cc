#include "daemon/archive/parent_trees.h"

#include <utility>

#include "daemon/repository/tree_scanner.h"

namespace backup {

std::optional<ParentTrees::Found> ParentTrees::find(std::string_view path) {
    if (!root_ || path.empty() || path.front() != '/') return std::nullopt;
    std::lock_guard lock(mutex_);
    Found at{0, 0, *root_};
    bool is_root = true;
    // `end`: of what has been followed so far.
    for (std::size_t end = 0; end < path.size();) {
        std::size_t begin = end + 1;
        std::size_t next = std::min(path.find('/', begin), path.size());
        std::string_view name = path.substr(begin, next - begin);
        if (name.empty()) return std::nullopt;
        const Children* children = children_of(path.substr(0, end), at.tree);
        if (children == nullptr) return std::nullopt;
        auto child = children->find(std::string(name));
        if (child == children->end()) return std::nullopt;
        at = child->second;
        is_root = false;
        end = next;
    }
    if (is_root) return std::nullopt;
    return at;
}

const ParentTrees::Children* ParentTrees::children_of(std::string_view path, const BlobId& tree) {
    if (auto known = loaded_.find(path); known != loaded_.end()) return &known->second;
    auto json = source_.load({BlobType::tree, tree});
    if (!json.ok()) return nullptr;
    Children children;
    TreeScanner scanner(*json);
    for (auto next = scanner.next(); next.ok() && *next != nullptr; next = scanner.next()) {
        const RawNode& node = **next;
        if (node.type == NodeType::dir)
            children.emplace(node.name, Found{node.inode, node.device_id, node.subtree()});
    }
    if (kept_ + children.size() > kMostKept) {
        loaded_.clear();
        kept_ = 0;
    }
    kept_ += children.size() + 1;
    return &loaded_.emplace(path, std::move(children)).first->second;
}

}  // namespace backup
