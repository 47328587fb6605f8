#include "daemon/archive/parent_counts.h"

#include <algorithm>

namespace backup {

void ParentCounts::note_gone(const RawNode& node, bool removed) {
    if (node.type == NodeType::file) {
        note_file(node.size);
        if (removed) {
            ++removed_;
            if (removed_marks_.size() < kMostFileMarks)
                removed_marks_.push_back(file_mark(node.inode, node.name));
        }
    } else if (node.type == NodeType::dir) {
        note_gone_tree(node.inode, node.subtree(), removed);
    }
}

void ParentCounts::note_gone_tree(std::uint64_t inode, const BlobId& tree, bool removed,
                                  bool is_emptied) {
    gone_.push_back({{inode, tree}, removed, is_emptied});
}

void ParentCounts::note_moved(std::uint64_t inode, const BlobId& tree) {
    moved_.push_back({inode, tree});
}

void ParentCounts::merge(const ParentCounts& other) {
    files_ += other.files_;
    bytes_ += other.bytes_;
    removed_ += other.removed_;
    removed_marks_.insert(removed_marks_.end(), other.removed_marks_.begin(),
                          other.removed_marks_.end());
    gone_.insert(gone_.end(), other.gone_.begin(), other.gone_.end());
    moved_.insert(moved_.end(), other.moved_.begin(), other.moved_.end());
}

ParentCounts::Sum ParentCounts::sum(BlobSource& source, bool only_removed,
                                    const std::stop_token& stop) const {
    Sum sum{files_, bytes_, removed_, 0, removed_marks_};
    std::vector<Tree> moved = moved_;
    std::sort(moved.begin(), moved.end());
    // The trees may be many and deep, so no recursion.
    std::vector<Gone> left = gone_;
    while (!left.empty() && !stop.stop_requested()) {
        Gone gone = left.back();
        left.pop_back();
        if (only_removed && !gone.removed) continue;
        if (std::binary_search(moved.begin(), moved.end(), gone.tree)) continue;
        if (!gone.is_emptied) ++sum.directories_gone;
        auto json = source.load({BlobType::tree, gone.tree.id});
        if (!json.ok()) continue;
        TreeScanner scanner(*json);
        for (auto next = scanner.next(); next.ok() && *next != nullptr; next = scanner.next()) {
            const RawNode& node = **next;
            if (node.type == NodeType::dir)
                left.push_back({{node.inode, node.subtree()}, gone.removed});
            if (node.type != NodeType::file) continue;
            ++sum.files;
            sum.bytes += node.size;
            if (!gone.removed) continue;
            ++sum.files_removed;
            if (sum.removed_marks.size() < kMostFileMarks)
                sum.removed_marks.push_back(file_mark(node.inode, node.name));
        }
    }
    return sum;
}

}  // namespace backup
