#include "daemon/history/version.h"

#include <cstring>

namespace backup {

namespace {

constexpr std::uint64_t kPrime = 0x9e3779b97f4a7c15;

// Ids are hashes already; this only has to depend on their order.
void mix(std::uint64_t& hash, std::uint64_t value) {
    hash = (hash << 7 | hash >> 57) ^ value;
    hash *= kPrime;
}

// FNV-1a: kept on disk, so it must not change with the library.
void mix_text(std::uint64_t& hash, std::string_view text) {
    for (char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
    mix(hash, text.size());
}

std::uint64_t word_of(const BlobId& id) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word = word << 8 | id.bytes[i];
    return word;
}

char kind_of(NodeType type) {
    switch (type) {
        case NodeType::file:
            return 'f';
        case NodeType::dir:
            return 'd';
        case NodeType::symlink:
            return 'l';
        case NodeType::dev:
            return 'b';
        case NodeType::chardev:
            return 'c';
        case NodeType::fifo:
            return 'p';
        case NodeType::socket:
            return 's';
        case NodeType::irregular:
        case NodeType::unknown:
            return '?';
    }
    return '?';
}

std::uint32_t permissions(std::uint32_t go_mode_bits, NodeType type) {
    Node node;
    node.mode = go_mode_bits;
    node.type = type;
    return node.unix_mode() & 07777;
}

std::uint64_t zigzag(std::int64_t value) {
    return static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63);
}
std::int64_t unzigzag(std::uint64_t value) {
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

template <typename T>
bool take(std::string_view& from, T& value) {
    std::uint64_t number = 0;
    if (!take_varint(from, number)) return false;
    value = static_cast<T>(number);
    return value == number;
}

}  // namespace

bool same_content(const Version& a, const Version& b) {
    return a.kind == b.kind && a.size == b.size && a.content == b.content;
}

bool same_version(const Version& a, const Version& b) {
    return same_content(a, b) && a.modified == b.modified && a.mode == b.mode && a.uid == b.uid &&
           a.gid == b.gid && a.attributes == b.attributes;
}

Result<Version> version_of(const RawNode& node, const TreeScanner& scanner, Ordinal first) {
    Version version;
    version.kind = kind_of(node.type);
    version.first = first;
    version.modified = node.mtime();
    version.mode = permissions(node.mode, node.type);
    version.uid = node.uid;
    version.gid = node.gid;
    std::uint64_t attributes = 0;
    if (node.is_plain) {
        if (!node.xattr_json.empty()) mix_text(attributes, node.xattr_json);
    } else {
        const Node whole = TRY(scanner.decode());
        for (const ExtendedAttribute& one : whole.extended_attributes) {
            mix_text(attributes, one.name);
            mix_text(attributes, as_text(one.value));
        }
    }
    version.attributes = static_cast<std::uint32_t>(attributes ^ attributes >> 32);
    if (node.type == NodeType::file) {
        version.size = node.size;
        for (std::size_t i = 0, count = node.content_count(); i < count; ++i)
            mix(version.content, word_of(node.content_id(i)));
    } else if (node.type == NodeType::symlink) {
        mix_text(version.content, node.link_target_json);
    } else if (node.type == NodeType::dev || node.type == NodeType::chardev) {
        version.content = node.device;
    }
    return version;
}

void append_varint(std::string& to, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
    to += static_cast<char>(value);
}

bool take_varint(std::string_view& from, std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (from.empty()) return false;
        const auto byte = static_cast<std::uint8_t>(from.front());
        from.remove_prefix(1);
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if ((byte & 0x80) == 0) return true;
    }
    return false;
}

void append_version(std::string& to, const Version& version) {
    to += version.kind;
    append_varint(to, version.first);
    append_varint(to, version.last);
    append_varint(to, version.size);
    append_varint(to, zigzag(version.modified.seconds));
    append_varint(to, version.modified.nanoseconds);
    append_varint(to, version.mode);
    append_varint(to, version.uid);
    append_varint(to, version.gid);
    append_varint(to, version.attributes);
    if (version.kind == 'd') return;
    for (unsigned shift = 0; shift < 64; shift += 8)
        to += static_cast<char>(version.content >> shift);
}

bool take_version(std::string_view& from, Version& version) {
    if (from.empty()) return false;
    version.kind = from.front();
    from.remove_prefix(1);
    std::uint64_t seconds = 0;
    if (!take(from, version.first) || !take(from, version.last) || !take(from, version.size) ||
        !take(from, seconds) || !take(from, version.modified.nanoseconds) ||
        !take(from, version.mode) || !take(from, version.uid) || !take(from, version.gid) ||
        !take(from, version.attributes))
        return false;
    version.modified.seconds = unzigzag(seconds);
    version.content = 0;
    if (version.kind == 'd') return true;
    if (from.size() < 8) return false;
    for (std::size_t i = 0; i < 8; ++i)
        version.content |= std::uint64_t{static_cast<std::uint8_t>(from[i])} << (8 * i);
    from.remove_prefix(8);
    return true;
}

}  // namespace backup
