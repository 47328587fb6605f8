#include <algorithm>
#include <thread>

#include <limits.h>

#include "daemon/repository/check_run.h"
#include "daemon/repository/tree.h"

namespace backup {

namespace {

std::string place_of(const std::string& path, const RevisionId& revision) {
    return (path.empty() ? "/" : path) + " in revision " + revision.short_hex();
}

}  // namespace

void TreeCheck::run(const std::vector<RevisionEntry>& revisions, unsigned threads) {
    for (const RevisionEntry& entry : revisions)
        if (seen_.insert(entry.snapshot.tree).second)
            stack_.push_back({entry.snapshot.tree, "", entry.id});
    std::vector<std::jthread> workers;
    for (unsigned i = 1; i < threads; ++i) workers.emplace_back([this] { work(); });
    work();
}

void TreeCheck::work() {
    std::vector<Pending> found;
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, stop_, [&] { return !stack_.empty() || busy_ == 0; });
        if (stack_.empty() || stop_.stop_requested() || report_.is_aborted()) break;
        Pending pending = std::move(stack_.back());
        stack_.pop_back();
        ++busy_;
        lock.unlock();
        found.clear();
        check(pending, found);
        lock.lock();
        --busy_;
        for (Pending& next : found)
            if (seen_.insert(next.tree).second) stack_.push_back(std::move(next));
        if (!stack_.empty() || busy_ == 0) changed_.notify_all();
    }
    // Nothing is left to do for the others either.
    lock.unlock();
    changed_.notify_all();
}

void TreeCheck::check(const Pending& pending, std::vector<Pending>& found) {
    auto object = [&] {
        return "tree " + pending.tree.hex() + " at " + place_of(pending.path, pending.revision);
    };
    if (pending.tree.is_null()) {
        report_.error(object(), "has no id");
        return;
    }
    Result<Bytes> json = repository_.blobs().load({BlobType::tree, pending.tree});
    if (!json.ok()) {
        if (is_damage(json.error()))
            report_.error(object(), json.error().message());
        else
            report_.abort(std::move(json).error().during("read " + object()));
        return;
    }
    progress_.items_done += 1;
    Result<> visited = visit_tree(*json, [&](Node& node) -> Result<> {
        const std::string path = pending.path + "/" + node.name;
        if (node.name.size() > NAME_MAX)
            report_.hint("entry " + place_of(path, pending.revision),
                         "cannot be restored: its name is longer than Linux allows");
        switch (node.type) {
            case NodeType::file:
                if (!node.has_content) {
                    report_.error("file " + place_of(path, pending.revision),
                                  "has no list of content");
                    break;
                }
                for (std::string& wrong : what_is_wrong_with_content(node))
                    report_.error("file " + place_of(path, pending.revision), std::move(wrong));
                break;
            case NodeType::dir:
                if (!node.subtree)
                    report_.error("directory " + place_of(path, pending.revision), "has no tree");
                else
                    found.push_back({*node.subtree, path, pending.revision});
                break;
            case NodeType::unknown:
                report_.hint("entry " + place_of(path, pending.revision),
                             "is of an unknown type: " + node.type_text);
                break;
            case NodeType::symlink:
            case NodeType::dev:
            case NodeType::chardev:
            case NodeType::fifo:
            case NodeType::socket:
            case NodeType::irregular:
                break;
        }
        return {};
    });
    if (!visited.ok()) report_.error(object(), visited.error().message());
}

std::vector<std::string> TreeCheck::what_is_wrong_with_content(const Node& file) {
    std::vector<std::string> wrong;
    std::uint64_t bytes = 0;
    for (const BlobId& id : file.content) {
        const BlobHandle handle{BlobType::data, id};
        if (id.is_null()) {
            wrong.push_back("names a blob without id");
        } else if (damaged_.contains(handle)) {
            wrong.push_back("data blob " + id.hex() + " is damaged or missing");
        } else if (auto location = repository_.blobs().locate(handle)) {
            bytes += location->plain_length();
        } else {
            wrong.push_back("data blob " + id.hex() + " is not in the index");
        }
    }
    if (wrong.empty() && bytes != file.size)
        wrong.push_back("has " + std::to_string(bytes) + " bytes of content, and should have " +
                        std::to_string(file.size));
    return wrong;
}

}  // namespace backup
