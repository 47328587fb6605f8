// From fragments to a tree, and from there to the parent, which may be complete by it.
#include "daemon/archive/walk.h"

namespace backup {

namespace {

void write_hex(const BlobId& id, std::uint8_t* out) {
    static constexpr char kDigits[] = "0123456789abcdef";
    for (std::uint8_t byte : id.bytes) {
        *out++ = static_cast<std::uint8_t>(kDigits[byte >> 4]);
        *out++ = static_cast<std::uint8_t>(kDigits[byte & 15]);
    }
}

}  // namespace

void WalkWorker::finish(Directory& directory) {
    if (ended() || walk_.stop.stop_requested()) return;
    BlobId tree;
    if (join_fragments(directory, tree)) complete(&directory, tree);
}

bool WalkWorker::join_fragments(Directory& directory, BlobId& tree) {
    if (is_only_looking()) return true;
    std::size_t size = 0;
    bool same = directory.before.has_value(), whole = true;
    for (const Fragment& fragment : directory.fragments) {
        size += fragment.out.size();
        same = same && fragment.same;
        whole = whole && fragment.large.empty();
        for (const ChildDirectory& child : fragment.children) {
            same = same && child.tree_same;
            whole = whole && !child.left_out;
        }
        for (const LargeFile& file : fragment.large) {
            size += file.node.size();
            std::string_view node = as_text(file.node);
            same = same && !node.empty() && node.substr(0, node.size() - 1) == file.before;
        }
    }
    // Every node is as it was, and there was nothing else: the same bytes, without hashing them.
    std::size_t end = size == kTreeBegin.size() ? 3 : 2;
    if (same && size + end == directory.before_size) {
        tree = *directory.before;
        return true;
    }
    Bytes joined;
    Bytes* out = &directory.fragments[0].out;
    if (directory.fragments.size() > 1 || !whole) {
        joined.reserve(size + 3);
        for (Fragment& fragment : directory.fragments) {
            // Children and large files are in name order each, and so by their places here.
            std::size_t at = 0;
            auto child = fragment.children.begin();
            auto copy_until = [&](std::size_t end_at) {
                for (; child != fragment.children.end() && child->begin < end_at; ++child) {
                    if (!child->left_out) continue;
                    append(joined, ByteView(fragment.out).subspan(at, child->begin - at));
                    at = child->end;
                }
                append(joined, ByteView(fragment.out).subspan(at, end_at - at));
                at = end_at;
            };
            for (const LargeFile& file : fragment.large) {
                copy_until(file.at);
                append(joined, file.node);
            }
            copy_until(fragment.out.size());
            fragment.out = Bytes();
        }
        out = &joined;
    }
    if (out->back() == ',') out->pop_back();
    append(*out, as_bytes("]}\n"));
    if (save_blob(BlobType::tree, *out, tree)) return true;
    // For a last checkpoint.
    if (input_.checkpoints != nullptr) directory.joined = std::move(*out);
    return false;
}

// Tells the parent, and its parent where this was the last thing it waited for.
void WalkWorker::complete(Directory* directory, std::optional<BlobId> tree) {
    for (;;) {
        Directory* parent = directory->parent;
        if (parent == nullptr) return walk_.queue.finish(*tree);
        ChildDirectory& slot = *directory->slot;
        if (is_only_looking()) {
            // Nothing is made of it.
        } else if (tree) {
            write_hex(*tree, directory->slot_fragment->out.data() + slot.id_at);
            slot.has_tree = true;
            slot.tree_same = slot.before && *slot.before == *tree;
            bool same = slot.node_same && slot.tree_same;
            ++(!slot.before ? counts_.dirs_new
               : same       ? counts_.dirs_unmodified
                            : counts_.dirs_changed);
        } else {
            slot.left_out = true;
        }
        walk_.queue.delist(*directory);
        delete directory;
        if (parent->pending.fetch_sub(1) != 1) return;
        if (ended() || walk_.stop.stop_requested()) return;
        BlobId joined;
        if (!join_fragments(*parent, joined)) return;
        directory = parent;
        tree = joined;
    }
}

}  // namespace backup
