#include "daemon/repository/tree.h"

#include <algorithm>
#include <charconv>

#include <sys/stat.h>

#include "daemon/repository/tree_scanner.h"

namespace backup {

namespace {

// Go's os.FileMode.
constexpr std::uint32_t kGoDir = 1u << 31, kGoSymlink = 1u << 27, kGoDevice = 1u << 26,
                        kGoFifo = 1u << 25, kGoSocket = 1u << 24, kGoSetuid = 1u << 23,
                        kGoSetgid = 1u << 22, kGoCharDevice = 1u << 21, kGoSticky = 1u << 20,
                        kGoIrregular = 1u << 19;

std::optional<std::pair<int, int>> version_of(std::string_view text) {
    const char* const end = text.data() + text.size();
    int major = 0, minor = 0;
    const auto first = std::from_chars(text.data(), end, major);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '.') return std::nullopt;
    const auto second = std::from_chars(first.ptr + 1, end, minor);
    if (second.ec != std::errc{}) return std::nullopt;
    return std::pair{major, minor};
}

}  // namespace

std::uint32_t go_mode(std::uint32_t unix_mode) {
    std::uint32_t mode = unix_mode & 0777;
    switch (unix_mode & S_IFMT) {
        case S_IFREG:
            break;
        case S_IFDIR:
            mode |= kGoDir;
            break;
        case S_IFLNK:
            mode |= kGoSymlink;
            break;
        case S_IFBLK:
            mode |= kGoDevice;
            break;
        case S_IFCHR:
            mode |= kGoDevice | kGoCharDevice;
            break;
        case S_IFIFO:
            mode |= kGoFifo;
            break;
        case S_IFSOCK:
            mode |= kGoSocket;
            break;
        default:
            mode |= kGoIrregular;
            break;
    }
    if (unix_mode & S_ISUID) mode |= kGoSetuid;
    if (unix_mode & S_ISGID) mode |= kGoSetgid;
    if (unix_mode & S_ISVTX) mode |= kGoSticky;
    return mode;
}

std::uint32_t Node::unix_mode() const {
    std::uint32_t bits = mode & 0777;
    if (mode & kGoSetuid) bits |= S_ISUID;
    if (mode & kGoSetgid) bits |= S_ISGID;
    if (mode & kGoSticky) bits |= S_ISVTX;
    // The type decides what is made of a node; the bits of the mode only say it again.
    switch (type) {
        case NodeType::file:
            return bits | S_IFREG;
        case NodeType::dir:
            return bits | S_IFDIR;
        case NodeType::symlink:
            return bits | S_IFLNK;
        case NodeType::dev:
            return bits | S_IFBLK;
        case NodeType::chardev:
            return bits | S_IFCHR;
        case NodeType::fifo:
            return bits | S_IFIFO;
        case NodeType::socket:
            return bits | S_IFSOCK;
        case NodeType::irregular:
        case NodeType::unknown:
            break;
    }
    return bits;
}

GoRules go_rules_for(std::string_view program_version) {
    // Our own snapshots name the rules they were written with.
    if (program_version.find("(go119)") != std::string_view::npos) return GoRules::go119;
    if (program_version.find("(go122)") != std::string_view::npos) return GoRules::go122;
    if (program_version.empty()) return GoRules::go119;
    constexpr std::string_view kRestic = "restic ";
    if (!program_version.starts_with(kRestic)) return GoRules::go122;
    const auto version = version_of(program_version.substr(kRestic.size()));
    return version && *version < std::pair{0, 17} ? GoRules::go119 : GoRules::go122;
}

namespace {
Result<> visit(ByteView json, const std::function<Result<>(Node& node)>& each,
               const std::function<void(Error error)>& bad) {
    TreeScanner scanner(json);
    for (;;) {
        const RawNode* raw = TRY(scanner.next(bad));
        if (raw == nullptr) return {};
        Node node = TRY(scanner.decode());
        TRY(each(node));
    }
}
}  // namespace

Result<> visit_tree(ByteView json, const std::function<Result<>(Node& node)>& each) {
    return visit(json, each, nullptr);
}

Result<> visit_tree(ByteView json, const std::function<Result<>(Node& node)>& each,
                    const std::function<void(Error error)>& bad) {
    return visit(json, each, bad);
}

Result<std::vector<Node>> decode_tree(ByteView json) {
    std::vector<Node> nodes;
    const auto keep = [&](Node& node) -> Result<> {
        nodes.push_back(std::move(node));
        return {};
    };
    TRY(visit_tree(json, keep));
    const auto by_name = [](const Node& a, const Node& b) { return a.name < b.name; };
    if (!std::is_sorted(nodes.begin(), nodes.end(), by_name))
        std::sort(nodes.begin(), nodes.end(), by_name);
    return nodes;
}

}  // namespace backup
