// Trees: a directory as a blob. Byte-exact with restic's serialisation: the same files give the
// same bytes and so the same ids. Pure codec; no I/O. The rules are in daemon/repository/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/go_json.h"

namespace backup {

enum class NodeType : std::uint8_t {
    file,
    dir,
    symlink,
    dev,
    chardev,
    fifo,
    socket,
    irregular,
    unknown
};

// Seconds and nanoseconds as stat gives them: Timestamp cannot hold the year 2400, files can.
struct FileTime {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    auto operator<=>(const FileTime&) const = default;
};

struct ExtendedAttribute {
    std::string name;
    Bytes value;
    bool operator==(const ExtendedAttribute&) const = default;
};

struct Node {
    std::string name;  // raw bytes
    NodeType type = NodeType::unknown;
    std::string type_text;   // as stored, for unknown types
    std::uint32_t mode = 0;  // Go's os.FileMode bits; see unix_mode()
    FileTime mtime, atime, ctime;
    std::uint32_t uid = 0, gid = 0;
    std::string user, group;
    std::uint64_t inode = 0, device_id = 0, size = 0, links = 0;
    std::string link_target;  // raw bytes
    std::vector<ExtendedAttribute> extended_attributes;
    std::string generic_attributes;  // raw JSON, kept when rewriting
    std::uint64_t device = 0;        // st_rdev
    bool has_content = false;        // "content":null or [...]
    std::vector<BlobId> content;
    std::optional<BlobId> subtree;
    std::string error;

    std::uint32_t unix_mode() const;  // S_IFMT (from the type) and permission bits
    bool operator==(const Node&) const = default;
};
std::uint32_t go_mode(std::uint32_t unix_mode);

// Which rules wrote trees of a snapshot with this program_version ("restic 0.19.1", "" before 0.16,
// "backupd 0.1.0").
GoRules go_rules_for(std::string_view program_version);

// Reads a tree blob node by node, in stored order; the node may be moved from. An error of `each`
// ends it. `corrupt` for anything that is no tree; names are checked (not empty, not "." or "..",
// no '/' and no NUL). Also `corrupt`: a name that occurs twice, a directory without subtree, a file
// with size but without content, an all-zero id, nesting beyond any sense. Names out of order are
// accepted (decode_tree sorts them).
Result<> visit_tree(ByteView json, const std::function<Result<>(Node& node)>& each);
// The same, but a node that is well-formed JSON and fails a check is handed to `bad` and left out:
// one odd node must not cost the restore of its siblings.
Result<> visit_tree(ByteView json, const std::function<Result<>(Node& node)>& each,
                    const std::function<void(Error error)>& bad);
Result<std::vector<Node>> decode_tree(ByteView json);

}  // namespace backup
