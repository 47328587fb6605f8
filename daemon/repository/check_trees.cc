#include <algorithm>
#include <thread>

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
        switch (node.type) {
            case NodeType::file:
                if (!node.has_content) {
                    report_.error("file " + place_of(path, pending.revision),
                                  "has no list of content");
                    break;
                }
                for (const BlobId& id : node.content) {
                    std::optional<std::string> wrong = what_is_wrong({BlobType::data, id});
                    if (wrong)
                        report_.error("file " + place_of(path, pending.revision),
                                      *std::move(wrong));
                }
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

std::optional<std::string> TreeCheck::what_is_wrong(const BlobHandle& handle) {
    if (handle.id.is_null()) return "names a blob without id";
    if (damaged_.contains(handle)) return "data blob " + handle.id.hex() + " is damaged or missing";
    if (!repository_.blobs().contains(handle))
        return "data blob " + handle.id.hex() + " is not in the index";
    return std::nullopt;
}

}  // namespace backup
