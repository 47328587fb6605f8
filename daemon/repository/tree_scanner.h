// TreeScanner walks the nodes of a tree blob in stored order without decoding them: for comparing a
// directory with its parent revision, where nearly every node is unchanged. No allocation per node
// in the usual encoding. Pure; the views point into the tree's bytes (or into the scanner) and live
// until the next call of next().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/tree.h"

namespace backup {

struct RawNode {
    std::string_view bytes;  // the whole node as stored, "{...}"
    std::string_view name;   // raw bytes, unquoted
    NodeType type = NodeType::unknown;
    // `{"name":` ... up to the comma before the extended attributes, for comparison. Empty when the
    // node is not in the encoding that restic and we write: then it is never "the same", but
    // everything else here is right.
    std::string_view head;
    std::string_view mtime_text, atime_text, ctime_text;
    FileTime mtime_value, ctime_value;
    std::uint32_t mode = 0;
    std::uint32_t uid = 0, gid = 0;
    std::uint64_t inode = 0, device_id = 0, size = 0, links = 0, device = 0;
    std::string_view user_json, group_json, link_target_json;  // as in the JSON, without the quotes
    std::string_view xattr_json;                               // "[{...}]"; empty: none
    bool has_content = false;       // an array, perhaps an empty one; not null
    std::string_view content_json;  // `["<64 hex>",...]`; empty without has_content
    std::string_view subtree_hex;   // 64 digits, or empty

    // All but the extended attributes and rare fields can be read from here; used by decode().
    bool is_plain = false;

    FileTime mtime() const { return mtime_value; }
    FileTime ctime() const { return ctime_value; }
    // Exactly 67 bytes per id in content_json, checked by the scanner: digits need no second look.
    std::size_t content_count() const;
    BlobId content_id(std::size_t index) const;
    BlobId subtree() const;  // null id without one
};

class TreeScanner {
  public:
    // `json` must outlive the scanner.
    explicit TreeScanner(ByteView json);
    ~TreeScanner();
    TreeScanner(TreeScanner&&) noexcept;
    TreeScanner& operator=(TreeScanner&&) noexcept;

    // The next node, or nullptr at the end. The same checks, and so the same errors, as
    // visit_tree().
    Result<const RawNode*> next();
    // The same, but a node that is well-formed JSON and fails a check is handed to `bad` and left
    // out.
    Result<const RawNode*> next(const std::function<void(Error error)>& bad);
    // True once a name did not follow the one before it: the tree is readable, but a merge with a
    // sorted listing misses nodes (and then treats them as new, which costs time and harms
    // nothing).
    bool out_of_order() const;
    // The current node in full, for those that differ.
    Result<Node> decode() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace backup
