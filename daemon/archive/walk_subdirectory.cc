// From the name of a directory to its node, which waits for the id of its tree: whether the walk
// goes on below it, and what the parent revision has of it.
#include <algorithm>

#include "daemon/archive/walk.h"

namespace backup {

namespace {

const BlobId kNoId{};

}  // namespace

WalkWorker::Descent WalkWorker::descent_into(const Entry& entry, const struct statx& status) const {
    Descent descent;
    descent.identity = identity_of(status);
    bool never = std::find(input_.never_enter.begin(), input_.never_enter.end(),
                           descent.identity) != input_.never_enter.end();
    descent.device_allowed = entry.directory.device_allowed;
    if (input_.exclude.other_filesystems && entry.target != nullptr && entry.target->is_target)
        descent.device_allowed = descent.identity.device;
    descent.is_foreign =
        descent.device_allowed != 0 && descent.identity.device != descent.device_allowed;
    descent.stays_empty = never || (descent.is_foreign && entry.target == nullptr);
    return descent;
}

ChildDirectory WalkWorker::child_of(const Entry& entry, const Descent& descent) {
    ChildDirectory child;
    child.name = entry.name;
    child.explicit_target = entry.target;
    child.lists = entry.target == nullptr || (entry.target->is_wanted() && !descent.is_foreign);
    child.identity = descent.identity;
    child.device_allowed = descent.device_allowed;
    return child;
}

WalkWorker::Origin WalkWorker::origin_of(const Entry& entry, const struct statx& status) {
    const RawNode* before = entry.before;
    bool was_directory = before != nullptr && before->type == NodeType::dir;
    bool is_above = entry.target != nullptr && !entry.target->is_wanted();
    // Without a LookAt every entry is compared by itself, whatever the directory was.
    bool any_will_do = input_.look_at == nullptr || is_above;
    if (was_directory && (any_will_do || before->inode == status.stx_ino))
        return {before->subtree(), true};
    // Nothing of another directory may be kept.
    if (was_directory) parent_.note_gone_tree(before->inode, before->subtree(), true);
    if (any_will_do) return {};
    auto old_path = input_.look_at->was_at(path_of_entry(entry));
    if (!old_path) return {};
    auto old = walk_.parent_trees.find(*old_path);
    if (!old || old->inode != status.stx_ino) return {};
    if (old->device != 0 && old->device != device_id(status)) return {};
    parent_.note_moved(old->inode, old->tree);
    return {old->tree, false};
}

void WalkWorker::save_directory(Entry& entry, const struct statx& status) {
    Descent descent = descent_into(entry, status);
    bool stays_empty = descent.stays_empty;
    const RawNode* before = entry.before;
    count_replaced(entry, NodeType::dir);
    Origin origin;
    if (!stays_empty)
        origin = origin_of(entry, status);
    else if (before != nullptr && before->type == NodeType::dir)
        origin = {before->subtree(), true};

    bool untouched = false;
    if (input_.look_at != nullptr && origin.tree && !stays_empty && !entry.follows_links()) {
        untouched =
            input_.look_at->directory(path_of_entry(entry)) == LookAt::Directory::untouched &&
            input_.sink.contains({BlobType::tree, *origin.tree});
    }
    BlobId tree = kNoId;
    if (untouched) tree = *origin.tree;
    if (stays_empty) {
        static constexpr std::string_view kEmpty = "{\"nodes\":[]}\n";
        if (!save_blob(BlobType::tree, as_bytes(kEmpty), tree)) return;
        if (origin.tree && *origin.tree != tree)
            parent_.note_gone_tree(before->inode, *origin.tree, false, true);
    }

    NodeFields node = fields(entry.name, status);
    node.xattr_json = xattrs_of(entry, status, -1);
    node.subtree = &tree;
    Bytes& out = entry.fragment.out;
    ChildDirectory child = child_of(entry, descent);
    child.begin = out.size();
    encoder_.append_node(node, out);
    child.id_at = out.size() - 66;  // 64 digits, a quote and a brace end the node
    out.push_back(',');
    child.end = out.size();
    std::string_view text =
        as_text(ByteView(out).subspan(child.begin, child.end - child.begin - 1));
    std::size_t id_offset = child.id_at - child.begin;
    child.node_same = origin.has_name && before->bytes.size() == text.size() &&
                      before->bytes.substr(0, id_offset) == text.substr(0, id_offset);
    if (!child.node_same) entry.fragment.same = false;
    ++items_noted_;
    if (untouched || stays_empty) {
        bool same = child.node_same && *origin.tree == tree;
        if (!same) entry.fragment.same = false;
        ++(!origin.tree ? counts_.dirs_new : same ? counts_.dirs_unmodified : counts_.dirs_changed);
        return;
    }
    child.before = origin.tree;
    if (entry.resumed != nullptr && entry.resumed->type == NodeType::dir)
        child.resumed = entry.resumed->subtree();
    entry.fragment.children.push_back(std::move(child));
}

}  // namespace backup
