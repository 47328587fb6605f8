// Revisions made of plain maps, for tests and the benchmark of the index of history: a tree is
// directories of names, encoded as a repository holds them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/history/history_index.h"
#include "daemon/repository/tree.h"
#include "daemon/repository/tree_encoder.h"

namespace backup::history_test {

// One object; of a directory with what is in it.
struct Object {
    NodeType type = NodeType::file;
    std::uint32_t mode = 0644;
    std::uint64_t size = 0;
    std::int64_t modified = 1'700'000'000;
    std::string content, attribute;
    std::map<std::string, std::shared_ptr<const Object>> entries;
};

inline BlobId content_id(const std::string& content) {
    return blob_id(as_bytes(content));
}

// Blobs that are trees. Counts what is read.
class Trees final : public BlobSource {
  public:
    BlobId add(const Object& directory) {
        TreeEncoder encoder(GoRules::go122, Zone::from_tz("UTC"));
        std::vector<Node> nodes;
        for (const auto& [name, object] : directory.entries) nodes.push_back(node(name, *object));
        return add_blob(encode_tree(nodes, encoder).value());
    }
    BlobId add_blob(Bytes tree) {
        const BlobId id = blob_id(tree);
        trees_[id] = std::move(tree);
        return id;
    }
    void forget(const BlobId& id) { trees_.erase(id); }

    Result<Bytes> load(const BlobHandle& handle) override {
        ++loads;
        if (before_load) before_load();
        auto found = trees_.find(handle.id);
        if (found == trees_.end())
            return Error(ErrorKind::not_found, "no such tree " + handle.id.short_hex());
        return to_bytes(found->second);
    }
    Result<> check(const BlobHandle&) override { return {}; }
    bool contains(const BlobHandle& handle) const override { return trees_.contains(handle.id); }
    std::optional<BlobLocation> locate(const BlobHandle&) const override { return std::nullopt; }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return {};
    }

    std::uint64_t loads = 0;
    std::function<void()> before_load;

  private:
    Node node(const std::string& name, const Object& object) {
        Node made;
        made.name = name;
        made.type = object.type;
        made.mode = go_mode(object.mode | (object.type == NodeType::dir ? 040000u : 0u));
        made.mtime = {object.modified, 5};
        made.atime = made.ctime = made.mtime;
        made.inode = 1;
        made.links = 1;
        if (!object.attribute.empty())
            made.extended_attributes = {{"user.a", to_bytes(object.attribute)}};
        if (object.type == NodeType::file) {
            made.size = object.size;
            made.has_content = true;
            if (object.size > 0) made.content = {content_id(object.content)};
        }
        if (object.type == NodeType::symlink) made.link_target = object.content;
        if (object.type == NodeType::dir) made.subtree = add(object);
        return made;
    }

    std::unordered_map<BlobId, Bytes> trees_;
};

inline LineRevision revision(std::uint64_t number, const BlobId& tree) {
    LineRevision made;
    made.identity = made.id = id_cast<RevisionId>(content_id("revision " + std::to_string(number)));
    made.number = number;
    made.time = Timestamp(std::chrono::seconds(1'700'000'000 + 60 * number));
    made.tree = tree;
    return made;
}

}  // namespace backup::history_test
