// Finding, listing and reading nodes of a revision: find_node, visit_nodes, read_content of
// restore.h.
#include <memory>

#include "common/path.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

Error no_such_path(std::string_view path) {
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "no such path in the revision: " + printable(path));
}

Error cancelled() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
}

Result<Bytes> load_tree(Repository& repository, const BlobId& id, std::string_view path) {
    return TRY_DURING(repository.blobs().load({BlobType::tree, id}),
                      "read directory " + printable(path));
}

std::string child_path(std::string_view parent, std::string_view name) {
    std::string path(parent);
    if (path.empty() || path.back() != '/') path += '/';
    path += name;
    return path;
}

// Stops reading as soon as the name was seen.
Result<std::optional<Node>> find_in_tree(ByteView json, std::string_view name) {
    std::optional<Node> found;
    const Error enough(ErrorKind::cancelled, "found");
    const auto each = [&](Node& node) -> Result<> {
        if (node.name != name) return {};
        found = std::move(node);
        return enough;
    };
    // An odd node beside the one that is looked for does no harm here.
    Result<> done = visit_tree(json, each, [](const Error&) {});
    if (!done.ok() && !found) return std::move(done).error();
    return found;
}

}  // namespace

Result<FoundNode> find_node(Repository& repository, const BlobId& root_tree, std::string_view path,
                            const AccessRule& rule) {
    const Path wanted = TRY(Path::parse(path));
    FoundNode found;
    found.path = "/";
    found.node.type = NodeType::dir;
    found.node.subtree = root_tree;
    for (std::string_view name : wanted.components()) {
        if (found.node.type != NodeType::dir || !found.node.subtree || !rule.may_pass(found.node))
            return no_such_path(path);
        const Bytes json = TRY(load_tree(repository, *found.node.subtree, found.path));
        std::optional<Node> next =
            TRY_DURING(find_in_tree(json, name), "read directory " + printable(found.path));
        if (!next) return no_such_path(path);
        found.node = std::move(*next);
        found.path = child_path(found.path, name);
    }
    return found;
}

Result<> visit_nodes(Repository& repository, const FoundNode& start, bool recursive,
                     const std::function<Result<>(const std::string& path, const Node& node)>& each,
                     std::stop_token stop, const AccessRule& rule) {
    if (start.node.type != NodeType::dir) return each(start.path, start.node);
    if (!rule.may_list(start.node))
        return Error(ErrorKind::denied, ErrorCode::access_denied,
                     "not yours to list: " + printable(start.path));
    if (!start.node.subtree)
        return Error(ErrorKind::corrupt, "directory without content: " + printable(start.path));

    if (!recursive) {
        const Bytes json = TRY(load_tree(repository, *start.node.subtree, start.path));
        return visit_tree(json, [&](Node& node) -> Result<> {
            if (stop.stop_requested()) return cancelled();
            return each(child_path(start.path, node.name), node);
        });
    }

    // The nodes of each open directory, the next one to visit last.
    struct Frame {
        std::string path;
        std::vector<Node> left;
    };
    std::vector<Frame> stack;
    const auto descend = [&](std::string path, const BlobId& tree) -> Result<> {
        const Bytes json = TRY(load_tree(repository, tree, path));
        Frame frame{std::move(path), {}};
        frame.left = TRY_DURING(decode_tree(json), "read directory " + printable(frame.path));
        std::reverse(frame.left.begin(), frame.left.end());
        stack.push_back(std::move(frame));
        return {};
    };
    TRY(descend(start.path, *start.node.subtree));
    while (!stack.empty()) {
        if (stop.stop_requested()) return cancelled();
        Frame& top = stack.back();
        if (top.left.empty()) {
            stack.pop_back();
            continue;
        }
        const Node node = std::move(top.left.back());
        top.left.pop_back();
        std::string path = child_path(top.path, node.name);
        TRY(each(path, node));
        if (node.type == NodeType::dir && node.subtree && rule.may_list(node))
            TRY(descend(std::move(path), *node.subtree));
    }
    return {};
}

Result<> read_content(Repository& repository, const Node& file,
                      const std::function<Result<>(ByteView)>& write, std::stop_token stop) {
    if (file.type != NodeType::file)
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "not a regular file: " + printable(file.name));
    std::uint64_t bytes = 0;
    for (const BlobId& id : file.content) {
        if (stop.stop_requested()) return cancelled();
        const Bytes plaintext = TRY_DURING(repository.blobs().load({BlobType::data, id}),
                                           "read " + printable(file.name));
        bytes += plaintext.size();
        TRY(write(plaintext));
    }
    if (bytes != file.size)
        return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                     "read " + printable(file.name) + ": the content has " + std::to_string(bytes) +
                         " bytes instead of " + std::to_string(file.size));
    return {};
}

}  // namespace backup
