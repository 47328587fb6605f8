#include "daemon/repository/tree_encoder.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstring>
#include <numeric>

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/path.h"
#include "daemon/repository/node_text.h"
#include "daemon/repository/tree_scanner.h"

namespace backup {

namespace {

constexpr std::string_view kBegin = R"({"nodes":[)";
constexpr std::string_view kEnd = "]}\n";
// Keys, punctuation, numbers and times of a node that has every field.
constexpr std::size_t kFixedBytes = 1024;
constexpr std::size_t kContentBytes = 67;  // "<64 hex>",

char* put(char* out, std::string_view text) {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
}

char* put_number(char* out, std::uint64_t value) {
    return std::to_chars(out, out + 20, value).ptr;
}

char* put_optional(char* out, std::string_view key, std::uint64_t value) {
    return value == 0 ? out : put_number(put(out, key), value);
}

struct HexPairs {
    char text[512];
    constexpr HexPairs() : text() {
        constexpr char kDigits[] = "0123456789abcdef";
        for (int i = 0; i < 256; ++i) {
            text[2 * i] = kDigits[i >> 4];
            text[2 * i + 1] = kDigits[i & 15];
        }
    }
};
constexpr HexPairs kHexPairs;

char* put_id(char* out, const BlobId& id) {
    *out++ = '"';
    for (std::uint8_t byte : id.bytes) {
        std::memcpy(out, kHexPairs.text + std::size_t{2} * byte, 2);
        out += 2;
    }
    *out++ = '"';
    return out;
}

std::string_view type_text(const NodeFields& node) {
    switch (node.type) {
        case NodeType::file:
            return "file";
        case NodeType::dir:
            return "dir";
        case NodeType::symlink:
            return "symlink";
        case NodeType::dev:
            return "dev";
        case NodeType::chardev:
            return "chardev";
        case NodeType::fifo:
            return "fifo";
        case NodeType::socket:
            return "socket";
        case NodeType::irregular:
            return "irregular";
        case NodeType::unknown:
            break;
    }
    return node.type_text;
}

std::size_t xattr_bytes(std::span<const ExtendedAttribute> attributes) {
    std::size_t size = 2;
    for (const auto& attribute : attributes) {
        size += 24 + most_text_bytes(attribute.name.size()) + (attribute.value.size() + 2) / 3 * 4;
    }
    return size;
}

char* put_xattrs(char* out, std::span<const ExtendedAttribute> attributes, GoRules rules) {
    char separator = '[';
    for (const auto& attribute : attributes) {
        *out++ = separator;
        separator = ',';
        out = put_text(put(out, R"({"name":)"), attribute.name, rules);
        out = put_base64(put(out, R"(,"value":")"), as_text(attribute.value));
        out = put(out, R"("})");
    }
    *out++ = ']';
    return out;
}

// Makes room for `most` bytes at the end of `out`, lets `write` use them, and gives back the rest.
template <typename Write>
void append_with(Bytes& out, std::size_t most, Write write) {
    const std::size_t before = out.size();
    out.resize(before + most);
    char* const begin = reinterpret_cast<char*>(out.data()) + before;
    char* const end = write(begin);
    assert(end <= begin + most);
    out.resize(before + static_cast<std::size_t>(end - begin));
}

}  // namespace

NodeFields fields_of(const Node& node) {
    NodeFields fields;
    fields.name = node.name;
    fields.type = node.type;
    fields.type_text = node.type_text;
    fields.mode = node.mode;
    fields.mtime = node.mtime;
    fields.atime = node.atime;
    fields.ctime = node.ctime;
    fields.uid = node.uid;
    fields.gid = node.gid;
    fields.user = node.user;
    fields.group = node.group;
    fields.inode = node.inode;
    fields.device_id = node.device_id;
    fields.size = node.size;
    fields.links = node.links;
    fields.link_target = node.link_target;
    fields.extended_attributes = node.extended_attributes;
    fields.generic_attributes = node.generic_attributes;
    fields.device = node.device;
    fields.has_content = node.has_content;
    fields.content = node.content;
    fields.subtree = node.subtree ? &*node.subtree : nullptr;
    fields.error = node.error;
    return fields;
}

NodeFields fields_from(const struct statx& status, std::string_view name) {
    NodeFields fields;
    fields.name = name;
    fields.mode = go_mode(status.stx_mode);
    fields.mtime = {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec};
    fields.atime = fields.mtime;
    fields.ctime = {status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec};
    fields.uid = status.stx_uid;
    fields.gid = status.stx_gid;
    fields.inode = status.stx_ino;
    fields.device_id = makedev(status.stx_dev_major, status.stx_dev_minor);
    bool has_links = true;
    switch (status.stx_mode & S_IFMT) {
        case S_IFREG:
            fields.type = NodeType::file;
            fields.size = status.stx_size;
            fields.has_content = true;
            break;
        case S_IFDIR:
            fields.type = NodeType::dir;
            has_links = false;
            break;
        case S_IFLNK:
            fields.type = NodeType::symlink;
            break;
        case S_IFBLK:
        case S_IFCHR:
            fields.type = S_ISBLK(status.stx_mode) ? NodeType::dev : NodeType::chardev;
            fields.device = makedev(status.stx_rdev_major, status.stx_rdev_minor);
            break;
        case S_IFIFO:
            fields.type = NodeType::fifo;
            has_links = false;
            break;
        case S_IFSOCK:
            fields.type = NodeType::socket;
            has_links = false;
            break;
        default:
            fields.type = NodeType::irregular;
            has_links = false;
            break;
    }
    if (has_links) fields.links = status.stx_nlink;
    return fields;
}

TreeEncoder::TreeEncoder(GoRules rules, std::shared_ptr<const Zone> zone)
    : rules_(rules), zone_(std::move(zone)) {
    begin();
}

void TreeEncoder::begin() {
    out_.clear();
    append(out_, as_bytes(kBegin));
    last_name_.clear();
    count_ = 0;
}

bool TreeEncoder::follows(std::string_view name) {
    if (count_ != 0 && name <= last_name_) return false;
    last_name_.assign(name);
    return true;
}

bool TreeEncoder::add(const NodeFields& node) {
    if (!follows(node.name)) return false;
    append_with(out_, most_bytes(node) + 1, [&](char* out) {
        if (count_ != 0) *out++ = ',';
        return write_tail(node, write_head(node, out));
    });
    ++count_;
    return true;
}

bool TreeEncoder::add_raw(const RawNode& node) {
    if (!follows(node.name)) return false;
    append_with(out_, node.bytes.size() + 1, [&](char* out) {
        if (count_ != 0) *out++ = ',';
        return put(out, node.bytes);
    });
    ++count_;
    return true;
}

ByteView TreeEncoder::finish() {
    append(out_, as_bytes(kEnd));
    return out_;
}

bool TreeEncoder::same_head(const NodeFields& now, const RawNode& before) {
    // The two that nearly always differ when anything does.
    if (before.head.empty() || before.inode != now.inode || before.size != now.size) return false;
    const std::size_t most = most_bytes(now);
    if (scratch_.size() < most) scratch_.resize(most);
    char* const begin = scratch_.data();
    const auto size = static_cast<std::size_t>(write_head(now, begin) - begin);
    assert(size <= most);
    return std::string_view(begin, size) == before.head;
}

void TreeEncoder::append_node(const NodeFields& node, Bytes& out) {
    append_with(out, most_bytes(node),
                [&](char* at) { return write_tail(node, write_head(node, at)); });
}

void TreeEncoder::append_xattrs(std::span<const ExtendedAttribute> attributes,
                                std::string& out) const {
    if (attributes.empty()) return;
    const std::size_t before = out.size();
    out.resize(before + xattr_bytes(attributes));
    char* const end = put_xattrs(out.data() + before, attributes, rules_);
    out.resize(static_cast<std::size_t>(end - out.data()));
}

std::size_t TreeEncoder::most_bytes(const NodeFields& node) const {
    return kFixedBytes + most_text_bytes(node.name.size()) +
           most_text_bytes(node.type_text.size()) + most_text_bytes(node.user.size()) +
           most_text_bytes(node.group.size()) + most_text_bytes(node.link_target.size()) +
           (node.link_target.size() + 2) / 3 * 4 + xattr_bytes(node.extended_attributes) +
           node.xattr_json.size() + node.generic_attributes.size() +
           kContentBytes * node.content.size() + node.content_json.size() +
           most_text_bytes(node.error.size());
}

char* TreeEncoder::write_head(const NodeFields& node, char* out) {
    out = put_name(put(out, R"({"name":)"), node.name, rules_);
    out = put(out, R"(,"type":)");
    if (node.type == NodeType::unknown) {
        out = put_text(out, node.type_text, rules_);
    } else {
        *out++ = '"';
        out = put(out, type_text(node));
        *out++ = '"';
    }
    out = put_optional(out, R"(,"mode":)", node.mode);
    out = put(out, R"(,"mtime":")");
    char* const mtime = out;
    out = zone_.write(node.mtime, out);
    const auto mtime_size = static_cast<std::size_t>(out - mtime);
    out = put(out, R"(","atime":")");
    if (node.atime == node.mtime) {
        out = put(out, {mtime, mtime_size});
    } else {
        out = zone_.write(node.atime, out);
    }
    out = zone_.write(node.ctime, put(out, R"(","ctime":")"));
    out = put_number(put(out, R"(","uid":)"), node.uid);
    out = put_number(put(out, R"(,"gid":)"), node.gid);
    if (!node.user.empty()) out = put_text(put(out, R"(,"user":)"), node.user, rules_);
    if (!node.group.empty()) out = put_text(put(out, R"(,"group":)"), node.group, rules_);
    out = put_optional(out, R"(,"inode":)", node.inode);
    out = put_optional(out, R"(,"device_id":)", node.device_id);
    out = put_optional(out, R"(,"size":)", node.size);
    out = put_optional(out, R"(,"links":)", node.links);
    if (!node.link_target.empty()) {
        out = put_text(put(out, R"(,"linktarget":)"), node.link_target, rules_);
        // Without it the target would be lost, so it is written whatever wrote the parent: restic
        // before 0.16 ignores it.
        if (!is_utf8(node.link_target)) {
            out = put_base64(put(out, R"(,"linktarget_raw":")"), node.link_target);
            *out++ = '"';
        }
    }
    return out;
}

char* TreeEncoder::write_tail(const NodeFields& node, char* out) const {
    if (!node.xattr_json.empty()) {
        out = put(put(out, R"(,"extended_attributes":)"), node.xattr_json);
    } else if (!node.extended_attributes.empty()) {
        out = put_xattrs(put(out, R"(,"extended_attributes":)"), node.extended_attributes, rules_);
    }
    if (!node.generic_attributes.empty()) {
        out = put(put(out, R"(,"generic_attributes":)"), node.generic_attributes);
    }
    out = put_optional(out, R"(,"device":)", node.device);
    out = put(out, R"(,"content":)");
    if (!node.has_content) {
        out = put(out, "null");
    } else if (!node.content_json.empty()) {
        out = put(out, node.content_json);
    } else {
        *out++ = '[';
        for (std::size_t i = 0; i < node.content.size(); ++i) {
            if (i != 0) *out++ = ',';
            out = put_id(out, node.content[i]);
        }
        *out++ = ']';
    }
    if (node.subtree != nullptr) out = put_id(put(out, R"(,"subtree":)"), *node.subtree);
    if (!node.error.empty()) out = put_text(put(out, R"(,"error":)"), node.error, rules_);
    *out++ = '}';
    return out;
}

Result<Bytes> encode_tree(std::span<const Node> nodes, TreeEncoder& encoder) {
    std::vector<const Node*> sorted(nodes.size());
    std::transform(nodes.begin(), nodes.end(), sorted.begin(),
                   [](const Node& node) { return &node; });
    std::sort(sorted.begin(), sorted.end(),
              [](const Node* a, const Node* b) { return a->name < b->name; });
    encoder.begin();
    for (const Node* node : sorted) {
        if (!encoder.add(fields_of(*node))) {
            return Error(ErrorKind::invalid, "two entries are named " + printable(node->name));
        }
    }
    return to_bytes(encoder.finish());
}

}  // namespace backup
