// Writes tree blobs byte for byte as restic does. TreeEncoder builds one tree at a time from nodes
// in name order; nothing is allocated per node once its buffers have grown. Not thread-safe: one
// object per thread.
//
// What a backup does for a directory:
//     encoder.begin();
//     for each entry in name order, with the parent's node of that name in `before`
//     (tree_scanner.h):
//         if (encoder.same_head(now, *before) && all content ids are stored)
//         encoder.add_raw(*before); else encoder.add(now);
//     save(BlobType::tree, encoder.finish());
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/id.h"
#include "daemon/repository/tree.h"
#include "daemon/repository/zone.h"

struct statx;

namespace backup {

struct RawNode;

// A node as views into memory of the caller: what the encoder takes. Every field has the meaning it
// has in Node.
struct NodeFields {
    std::string_view name;  // raw bytes
    NodeType type = NodeType::unknown;
    std::string_view type_text;  // only for NodeType::unknown
    std::uint32_t mode = 0;      // Go's bits: go_mode(st_mode)
    FileTime mtime, atime, ctime;
    std::uint32_t uid = 0, gid = 0;
    std::string_view user, group;
    std::uint64_t inode = 0, device_id = 0, size = 0, links = 0;
    std::string_view link_target;
    std::span<const ExtendedAttribute> extended_attributes;
    std::string_view xattr_json;  // already encoded, as in RawNode; used when not empty
    std::string_view generic_attributes;
    std::uint64_t device = 0;
    bool has_content = false;  // false: "content":null
    std::span<const BlobId> content;
    std::string_view content_json;  // already encoded array, as in RawNode; used when not empty
    const BlobId* subtree = nullptr;
    std::string_view error;
};
NodeFields fields_of(const Node& node);  // views into `node`
// Everything that statx() tells: type, mode, times (atime = mtime, as restic does by default),
// owner ids, inode, device numbers, size (regular files only), links (not for dir, fifo and
// socket), has_content for regular files. Names of user and group, link target, xattrs, content and
// subtree are the caller's.
NodeFields fields_from(const struct statx& status, std::string_view name);

class TreeEncoder {
  public:
    TreeEncoder(GoRules rules, std::shared_ptr<const Zone> zone);

    void begin();
    // False, and nothing added, when the name does not follow the one before it (a file system may
    // list a name twice).
    [[nodiscard]] bool add(const NodeFields& node);
    // The parent's bytes, unchanged. The node must be canonical (RawNode::head not empty).
    [[nodiscard]] bool add_raw(const RawNode& node);
    // Ends the tree. The view is valid until the next begin().
    ByteView finish();
    std::size_t node_count() const { return count_; }
    std::size_t size() const { return out_.size(); }

    // True when all that stands before the extended attributes (name, type, mode, times, owner,
    // inode, device, size, links, link target) would be written as the parent has it. Extended
    // attributes, device numbers, content and subtree are not looked at. False for nodes in an
    // unusual encoding.
    bool same_head(const NodeFields& now, const RawNode& before);

    // One node alone, without a comma.
    void append_node(const NodeFields& node, Bytes& out);
    // `[{"name":...},...]`, or nothing for none: comparable with RawNode::xattr_json.
    void append_xattrs(std::span<const ExtendedAttribute> attributes, std::string& out) const;

    GoRules rules() const { return rules_; }

  private:
    char* write_head(const NodeFields& node, char* out);
    char* write_tail(const NodeFields& node, char* out) const;
    std::size_t most_bytes(const NodeFields& node) const;
    bool follows(std::string_view name);

    GoRules rules_;
    ZoneFormatter zone_;
    Bytes out_;
    std::string scratch_;  // one head
    std::string last_name_;
    std::size_t count_ = 0;
};

// All nodes of a tree, sorted by name here. `invalid` for two nodes of one name.
Result<Bytes> encode_tree(std::span<const Node> nodes, TreeEncoder& encoder);

}  // namespace backup
