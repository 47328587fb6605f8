#include "daemon/archive/tree_difference.h"

#include <map>

#include <gtest/gtest.h>

#include "daemon/repository/crypto.h"

namespace backup {
namespace {

using Kind = TreeDifference::Kind;

class Trees final : public BlobSource {
  public:
    BlobId add(const std::string& nodes) {
        std::string json = "{\"nodes\":[" + nodes + "]}\n";
        BlobId id = blob_id(as_bytes(json));
        blobs_[id.hex()] = json;
        return id;
    }
    mutable int loads = 0;

    Result<Bytes> load(const BlobHandle& handle) override {
        ++loads;
        auto found = blobs_.find(handle.id.hex());
        if (found == blobs_.end()) return Error(ErrorKind::not_found, "no such tree");
        return Bytes(found->second.begin(), found->second.end());
    }
    Result<> check(const BlobHandle&) override { return {}; }
    bool contains(const BlobHandle&) const override { return true; }
    std::optional<BlobLocation> locate(const BlobHandle&) const override { return std::nullopt; }
    Result<> load_from_pack(const PackId&, std::span<const Wanted>, const EachBlob&) override {
        return {};
    }

  private:
    std::map<std::string, std::string> blobs_;
};

std::string node(const std::string& name, const std::string& type, int changed, int inode,
                 const std::string& rest) {
    const std::string time = "\"2026-11-23T07:00:0" + std::to_string(changed) + "Z\"";
    return "{\"name\":\"" + name + "\",\"type\":\"" + type + "\",\"mode\":420,\"mtime\":" + time +
           ",\"atime\":" + time + ",\"ctime\":" + time +
           ",\"uid\":0,\"gid\":0,\"inode\":" + std::to_string(inode) + "," + rest + "}";
}
std::string file(const std::string& name, int changed, int inode, char content) {
    return node(name, "file", changed, inode,
                "\"size\":3,\"links\":1,\"content\":[\"" + std::string(64, content) + "\"]");
}
std::string directory(const std::string& name, int changed, int inode, const BlobId& tree) {
    return node(name, "dir", changed, inode, "\"content\":null,\"subtree\":\"" + tree.hex() + "\"");
}

std::map<std::string, Kind> differences(Trees& trees, const BlobId& a, const BlobId& b) {
    std::map<std::string, Kind> found;
    auto done = compare_trees(trees, a, b,
                              [&](const TreeDifference& one) -> Result<> {
                                  found[one.path] = one.kind;
                                  return {};
                              },
                              {});
    EXPECT_TRUE(done.ok()) << (done.ok() ? "" : done.error().message());
    if (done.ok()) {
        EXPECT_EQ(done->differences, found.size());
    }
    return found;
}

TEST(TreeDifference, TheSameTreeIsNotEvenRead) {
    Trees trees;
    BlobId tree = trees.add(file("a", 1, 1, 'a'));
    EXPECT_TRUE(differences(trees, tree, tree).empty());
    EXPECT_EQ(trees.loads, 0);
}

TEST(TreeDifference, ContentBehindTheStampsIsToldApartFromChanges) {
    Trees trees;
    BlobId before = trees.add(file("a", 1, 1, 'a') + "," + file("b", 1, 2, 'b') + "," +
                              file("c", 1, 3, 'c') + "," + file("gone", 1, 4, 'd'));
    BlobId after = trees.add(file("a", 1, 1, 'f') + "," + file("b", 2, 2, 'f') + "," +
                             file("c", 1, 3, 'c') + "," + file("new", 1, 5, 'e'));
    EXPECT_EQ(differences(trees, before, after),
              (std::map<std::string, Kind>{{"/a", Kind::content},
                                           {"/b", Kind::changed},
                                           {"/gone", Kind::gone},
                                           {"/new", Kind::created}}));
}

TEST(TreeDifference, GoesDownWhereSubtreesDifferAndNowhereElse) {
    Trees trees;
    BlobId same = trees.add(file("x", 1, 9, 'a'));
    BlobId inner_before = trees.add(file("f", 1, 7, 'a'));
    BlobId inner_after = trees.add(file("f", 1, 7, 'b'));
    BlobId before =
        trees.add(directory("kept", 1, 1, same) + "," + directory("looked", 1, 2, inner_before));
    BlobId after =
        trees.add(directory("kept", 1, 1, same) + "," + directory("looked", 1, 2, inner_after));
    EXPECT_EQ(differences(trees, before, after),
              (std::map<std::string, Kind>{{"/looked/f", Kind::content}}));
    EXPECT_EQ(trees.loads, 4);
}

TEST(TreeDifference, ALostTreeIsAnError) {
    Trees trees;
    BlobId before = trees.add(file("a", 1, 1, 'a'));
    BlobId lost = blob_id(as_bytes("nowhere"));
    EXPECT_FALSE(
        compare_trees(trees, before, lost, [](const TreeDifference&) -> Result<> { return {}; }, {})
            .ok());
}

}  // namespace
}  // namespace backup
