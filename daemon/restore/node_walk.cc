#include "daemon/restore/node_walk.h"

#include <algorithm>
#include <set>

#include "common/path.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

Error cancelled() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
}

Error no_such_path(std::string_view path) {
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "no such path in the revision: " + printable(path));
}

Error not_readable(const std::string& what) {
    return Error(ErrorKind::denied, ErrorCode::access_denied,
                 "you could not have read " + what + " then");
}

Error unsupported(std::string message) {
    return Error(ErrorKind::invalid, ErrorCode::unsupported, std::move(message));
}

Error damaged(std::string message) {
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged, std::move(message));
}

// Equal for names that can be one file: a hostile tree gives one inode number to different things.
BlobId fingerprint(const Node& node) {
    if (node.type == NodeType::symlink) return blob_id(as_bytes(node.link_target));
    Bytes text;
    for (const BlobId& id : node.content) append(text, id.bytes);
    append(text, as_bytes(std::to_string(static_cast<int>(node.type)) + " " +
                          std::to_string(node.device)));
    return blob_id(text);
}

bool is_inside(const std::string& path, const std::string& ancestor) {
    return path.size() > ancestor.size() && path.starts_with(ancestor) &&
           (ancestor == "/" || path[ancestor.size()] == '/');
}

// Sorted, each once; with full paths nothing that another one brings along.
Result<std::vector<std::string>> normalised(const std::vector<std::string>& paths,
                                            bool full_paths) {
    std::vector<Path> parsed;
    for (const std::string& text : paths) parsed.push_back(TRY(Path::parse(text)));
    // By components: a directory stands directly before everything below it.
    std::ranges::sort(parsed,
                      [](const Path& a, const Path& b) { return a.components() < b.components(); });
    std::vector<std::string> result;
    for (const Path& path : parsed) {
        const bool is_known = !result.empty() && result.back() == path.text();
        const bool is_covered =
            full_paths && !result.empty() && is_inside(path.text(), result.back());
        if (!is_known && !is_covered) result.push_back(path.text());
    }
    return result;
}

}  // namespace

Result<std::vector<Selected>> select_paths(Repository& repository, const BlobId& root_tree,
                                           const std::vector<std::string>& paths, bool full_paths,
                                           const AccessRule& rule) {
    std::vector<std::string> wanted = TRY(normalised(paths, full_paths));
    if (wanted.empty() || wanted.front() == "/") wanted = {"/"};
    std::vector<Selected> result;
    std::set<std::string> landing;
    for (const std::string& path : wanted) {
        Selected selected;
        FoundNode at = TRY(find_node(repository, root_tree, "/"));
        selected.parent_path = "/";
        const Path parsed = TRY(Path::parse(path));
        for (std::string_view name : parsed.components()) {
            if (at.path != "/") {
                selected.passages.push_back(at.node);
                selected.parent_path = at.path;
            }
            // Step by step, so that the directories above come along.
            const std::string from = at.path == "/" ? std::string() : at.path;
            if (at.node.type != NodeType::dir || !at.node.subtree || !rule.may_pass(at.node))
                return no_such_path(path);
            Result<FoundNode> next =
                find_node(repository, *at.node.subtree, "/" + std::string(name));
            if (!next.ok() && next.error().code() == ErrorCode::no_such_path)
                return no_such_path(path);
            if (!next.ok()) return std::move(next).error();
            next->path = from + "/" + std::string(name);
            at = std::move(*next);
        }
        selected.node = std::move(at.node);
        if (!rule.may_open(selected.node)) return not_readable(printable(path));
        if (!full_paths && !landing.insert(selected.node.name).second)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "two of the paths would land as " + printable(selected.node.name) +
                             ": restore them with full paths or one by one");
        result.push_back(std::move(selected));
    }
    return result;
}

Result<> NodeWalk::run(const std::vector<Selected>& selected, std::stop_token stop) {
    if (options_.full_paths) {
        TRY(run_full(selected, stop));
    } else {
        for (const Selected& one : selected) {
            const DirectoryIndex target = directories_.add_target(one.parent_path);
            TRY(visit(target, one.node, stop));
        }
    }
    if (batch_->is_empty()) return {};
    return sink_(std::move(batch_));
}

// The directories above what was asked for are entered once, however many selected paths share
// them.
Result<> NodeWalk::run_full(const std::vector<Selected>& selected, std::stop_token stop) {
    struct Passage {
        DirectoryIndex directory;
        Node node;
    };
    const DirectoryIndex target = directories_.add_target("/");
    std::vector<Passage> open;
    const auto close_to = [&](std::size_t depth) -> Result<> {
        for (; open.size() > depth; open.pop_back())
            TRY(leave(open.back().directory, open.back().node, true));
        return {};
    };
    for (const Selected& one : selected) {
        std::size_t shared = 0;
        while (shared < open.size() && shared < one.passages.size() &&
               open[shared].node.name == one.passages[shared].name)
            ++shared;
        TRY(close_to(shared));
        for (std::size_t depth = shared; depth < one.passages.size(); ++depth) {
            const DirectoryIndex parent = open.empty() ? target : open.back().directory;
            const Node& node = one.passages[depth];
            const DirectoryIndex directory = directories_.add(parent, node.name);
            const EnterDirectory enter{parent, directory, batch_->add_text(node.name), node.mtime,
                                       true};
            if (options_.descend && !options_.descend(enter, *batch_)) break;
            batch_->enters.push_back(enter);
            open.push_back({directory, node});
        }
        if (open.size() < one.passages.size()) continue;  // not to be descended into
        TRY(visit(open.empty() ? target : open.back().directory, one.node, stop));
    }
    return close_to(0);
}

Result<> NodeWalk::visit(DirectoryIndex parent, Node node, std::stop_token stop) {
    if (node.type == NodeType::dir && node.name.empty()) {
        // The root itself: its entries land in the target.
        if (!node.subtree) return damaged("the revision has no tree");
        stack_.push_back({parent, std::nullopt, {}});
        TRY(read_entries(stack_.back(), *node.subtree));
        return walk(stop);
    }
    if (node.type == NodeType::dir) {
        TRY(open_directory(parent, std::move(node)));
        return walk(stop);
    }
    return take_object(parent, node);
}

Result<> NodeWalk::walk(std::stop_token stop) {
    while (!stack_.empty()) {
        if (stop.stop_requested()) return cancelled();
        Frame& top = stack_.back();
        if (top.directories.empty()) {
            if (top.node) TRY(leave(top.directory, *top.node, false));
            stack_.pop_back();
            continue;
        }
        Node next = std::move(top.directories.back());
        top.directories.pop_back();
        TRY(open_directory(top.directory, std::move(next)));
    }
    return {};
}

Result<> NodeWalk::open_directory(DirectoryIndex parent, Node node) {
    if (!node.subtree || node.subtree->is_null()) {
        refuse(parent, node.name, damaged("a directory without content"));
        return {};
    }
    if (options_.rule != nullptr && !options_.rule->may_list(node)) {
        refuse(parent, node.name, not_readable("what is in it"));
        return {};
    }
    const BlobId tree = *node.subtree;
    const DirectoryIndex directory = directories_.add(parent, node.name);
    const EnterDirectory enter{parent,     directory, batch_->add_text(node.name),
                               node.mtime, false,     content_mark(node.name, tree)};
    if (options_.descend && !options_.descend(enter, *batch_)) return {};
    Frame frame{directory, std::move(node), {}};
    // A directory that cannot be read is not made: empty it would look like all there was.
    Result<Bytes> json = blobs_.load({BlobType::tree, tree});
    if (!json) {
        if (json.error().kind() == ErrorKind::cancelled) return std::move(json).error();
        refuse(parent, frame.node->name, std::move(json).error());
        return {};
    }
    batch_->enters.push_back(enter);
    stack_.push_back(std::move(frame));
    return read_entries_of(stack_.back(), *json);
}

Result<> NodeWalk::read_entries(Frame& frame, const BlobId& tree) {
    const Bytes json = TRY(blobs_.load({BlobType::tree, tree}));
    return read_entries_of(frame, json);
}

Result<> NodeWalk::read_entries_of(Frame& frame, ByteView json) {
    Result<> failed_sink;
    std::vector<std::string> names;
    bool is_whole = true;
    const auto each = [&](Node& node) -> Result<> {
        if (options_.entries) names.push_back(node.name);
        if (const char* problem = problem_with_name(node.name)) {
            refuse(frame.directory, node.name, damaged(problem));
            return {};
        }
        if (node.type == NodeType::dir) {
            frame.directories.push_back(std::move(node));
            return {};
        }
        failed_sink = take_object(frame.directory, node);
        if (!failed_sink.ok()) return Error(ErrorKind::cancelled, "stopped");
        return {};
    };
    Result<> done = visit_tree(json, each, [&](Error error) {
        is_whole = false;
        if (options_.refuse)
            options_.refuse(directories_.source_path(frame.directory), std::move(error));
    });
    std::ranges::reverse(frame.directories);
    if (!failed_sink.ok()) return failed_sink;
    // What was read before the damage is whole, blob by blob; the rest is named by its directory.
    if (!done.ok() && options_.refuse)
        options_.refuse(directories_.source_path(frame.directory), std::move(done).error());
    if (options_.entries && done.ok() && is_whole)
        TRY(options_.entries(frame.directory, std::move(names)));
    return {};
}

Result<> NodeWalk::take_object(DirectoryIndex parent, const Node& node) {
    if (options_.rule != nullptr && !options_.rule->may_read(node)) {
        refuse(parent, node.name, not_readable("it"));
        return {};
    }
    switch (node.type) {
        case NodeType::dir:
            break;
        case NodeType::file:
            if (!node.has_content) {
                refuse(parent, node.name, damaged("a file without content"));
                return {};
            }
            return add_object(parent, node);
        case NodeType::dev:
        case NodeType::chardev:
            if (options_.leaves_privileges) {
                refuse(parent, node.name,
                       unsupported("device nodes come back as root only (--as-root)"));
                return {};
            }
            return add_object(parent, node);
        case NodeType::symlink:
        case NodeType::fifo:
            return add_object(parent, node);
        case NodeType::socket:
            refuse(parent, node.name, unsupported("sockets cannot be restored"));
            return {};
        case NodeType::irregular:
        case NodeType::unknown:
            refuse(parent, node.name,
                   unsupported("unknown type \"" + printable(node.type_text) + "\""));
            return {};
    }
    return {};
}

Result<> NodeWalk::add_object(DirectoryIndex parent, const Node& node) {
    PlanObject& object = batch_->add_object(parent, node);
    if (node.links > 1 && node.inode != 0) {
        const BlobId print = fingerprint(node);
        auto [found, is_new] = groups_.try_emplace({node.inode, node.device_id},
                                                   Group{next_group_, node.links, print});
        if (found->second.fingerprint == print) {
            object.link_group = found->second.number;
            object.leads_group = is_new;
            object.ends_group = --found->second.names_left == 0;
            if (is_new) ++next_group_;
            if (object.ends_group) groups_.erase(found);
        }
    }
    return flush_if_full();
}

Result<> NodeWalk::leave(DirectoryIndex directory, const Node& node, bool passage) {
    batch_->leaves.push_back({directory, batch_->add_metadata(node), passage});
    return flush_if_full();
}

Result<> NodeWalk::flush_if_full() {
    if (!batch_->is_full(options_.limits)) return {};
    std::unique_ptr<RestoreBatch> full = std::move(batch_);
    batch_ = new_batch();
    return sink_(std::move(full));
}

std::unique_ptr<RestoreBatch> NodeWalk::new_batch() const {
    auto batch = std::make_unique<RestoreBatch>();
    batch->leaves_privileges = options_.leaves_privileges;
    return batch;
}

void NodeWalk::refuse(DirectoryIndex parent, std::string_view name, Error error) {
    if (options_.refuse)
        options_.refuse(directories_.source_path(parent, name.substr(0, 4096)), std::move(error));
}

}  // namespace backup
