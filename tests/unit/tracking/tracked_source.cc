#include "tests/unit/tracking/tracked_source.h"

#include <algorithm>
#include <mutex>

#include "daemon/tracking/inode_names.h"

namespace backup {

TrackedSource::TrackedSource() {
    auto made = Repository::init(backend_, as_bytes("secret"), {.clock = &clock_},
                                 KeyCost{.n = 16, .r = 1, .p = 1});
    EXPECT_TRUE(made.ok());
    repository_ = std::move(*made);
    set.id = "test";
    set.paths = {*Path::parse(source.inside())};
}

void TrackedSource::absorb() {
    WatchBatch batch = source.take();
    bool left = source.keep_inside(batch);
    queue.absorb(kVolume, batch, clock_.now());
    if (left) queue.mark_left_scope(kVolume);
}

std::optional<BackupResult> TrackedSource::run(const std::function<void()>& between) {
    auto step = [&] {
        if (between) between();
    };
    step();
    absorb();
    FrozenMarks frozen = queue.freeze();
    step();
    LookAtInput input;
    input.marks = &frozen;
    input.resolver = source.resolver();
    if (parent) {
        input.names_of_inodes = [&](const std::vector<std::uint64_t>& inodes) {
            inodes_asked += inodes.size();
            step();
            return names_of_inodes(repository_->blobs(), parent->snapshot.tree, inodes);
        };
    }
    input.paths = set.paths;
    input.exclude = &set.exclude;
    auto built = LookAtChanges::build(input);
    EXPECT_TRUE(built.ok());
    if (!built.ok()) return std::nullopt;
    look = std::move(*built);
    step();
    std::vector<std::string> unsettled;
    auto result = backup(look.get(), false, &unsettled);
    step();
    if (!result) return std::nullopt;
    absorb();
    for (const std::string& path : unsettled) {
        ObjectHandle directory = RecordedSource::handle(path.substr(0, path.rfind('/')));
        // If it is gone, somebody recorded that.
        if (!directory.empty())
            queue.mark_name(kVolume, directory, path.substr(path.rfind('/') + 1), true, true,
                            clock_.now());
    }
    queue.clear(frozen);
    return result;
}

std::optional<BackupResult> TrackedSource::scan() {
    return backup(nullptr, true, nullptr);
}

std::optional<BackupResult> TrackedSource::backup(const LookAt* look_at, bool from_nothing,
                                                  std::vector<std::string>* unsettled) {
    std::mutex mutex;
    BackupRequest request;
    request.set = &set;
    if (!from_nothing) request.parent = parent;
    request.look_at = look_at;
    request.fs = &fs;
    request.hostname = "host";
    request.threads = 2;
    request.number = number_++;
    if (unsettled != nullptr) {
        request.unsettled = [&](const std::string& path) {
            std::lock_guard lock(mutex);
            unsettled->push_back(path);
        };
    }
    Progress progress;
    ExceptionLog exceptions(progress);
    auto result = run_backup(request, *repository_, progress, exceptions, {});
    if (!result.ok()) {
        EXPECT_FALSE(from_nothing) << result.error().message();
        return std::nullopt;
    }
    if (unsettled != nullptr)
        for (const Exception& one : exceptions.list()) unsettled->push_back(one.path);
    if (!from_nothing) {
        parent = RevisionEntry{result->revision, result->snapshot};
        last = *result;
    }
    return std::move(*result);
}

void TrackedSource::restart_queue() {
    for (const QueueRecord& record : queue.take_records()) {
        if (record.value)
            stored_[record.key] = *record.value;
        else
            stored_.erase(record.key);
    }
    std::vector<QueueRecord> records;
    for (const auto& [key, value] : stored_) records.push_back({key, value});
    auto loaded = ChangeQueue::load(records);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message();
    queue = std::move(*loaded);
}

std::optional<Node> TrackedSource::node_of_set(const BackupResult& result) {
    BlobId tree = result.tree;
    std::optional<Node> found;
    for (std::string_view component : set.paths[0].components()) {
        auto json = repository_->blobs().load({BlobType::tree, tree});
        if (!json.ok()) return std::nullopt;
        auto nodes = decode_tree(*json);
        if (!nodes.ok()) return std::nullopt;
        auto node = std::ranges::find(*nodes, component, &Node::name);
        if (node == nodes->end() || !node->subtree) return std::nullopt;
        found = *node;
        tree = *node->subtree;
    }
    return found;
}

BlobId TrackedSource::tree_of_set(const BackupResult& result) {
    auto node = node_of_set(result);
    return node ? *node->subtree : BlobId{};
}

std::string TrackedSource::describe(const BackupResult& result) {
    auto node = node_of_set(result);
    if (!node) return "the set is not there";
    std::string out = "mode " + std::to_string(node->mode) + "\n";
    describe(*node->subtree, "", out);
    return out;
}

void TrackedSource::describe(const BlobId& tree, const std::string& path, std::string& out) {
    auto json = repository_->blobs().load({BlobType::tree, tree});
    if (!json.ok()) {
        out += path + ": " + json.error().message() + "\n";
        return;
    }
    auto nodes = decode_tree(*json);
    for (const Node& node : *nodes) {
        std::string place = path + "/" + printable(node.name);
        out += place + " inode " + std::to_string(node.inode) + " mode " +
               std::to_string(node.mode) + " links " + std::to_string(node.links) + " size " +
               std::to_string(node.size) + " ctime " + std::to_string(node.ctime.seconds) + "." +
               std::to_string(node.ctime.nanoseconds) + " mtime " +
               std::to_string(node.mtime.seconds) + "." + std::to_string(node.mtime.nanoseconds) +
               " " + node.link_target;
        for (const BlobId& id : node.content) out += " " + id.hex().substr(0, 8);
        out += "\n";
        if (node.subtree) describe(*node.subtree, place, out);
    }
}

}  // namespace backup
