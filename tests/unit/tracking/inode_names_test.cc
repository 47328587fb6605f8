#include "daemon/tracking/inode_names.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <gtest/gtest.h>

#include "daemon/backend/memory_backend.h"
#include "daemon/repository/repository.h"
#include "daemon/repository/tree_encoder.h"

namespace backup {

namespace {

using Names = std::vector<std::pair<std::uint64_t, std::string>>;

class InodeNamesTest : public testing::Test {
  protected:
    InodeNamesTest() {
        auto made = Repository::init(backend_, as_bytes("secret"), {.clock = &clock_},
                                     KeyCost{.n = 16, .r = 1, .p = 1});
        EXPECT_TRUE(made.ok());
        repository_ = std::move(*made);
        auto session = repository_->start_write({}, {});
        EXPECT_TRUE(session.ok());
        session_ = std::move(*session);
    }

    static Node file(const std::string& name, std::uint64_t inode) {
        Node node;
        node.name = name;
        node.type = NodeType::file;
        node.mode = 0644;
        node.inode = inode;
        node.has_content = true;
        return node;
    }
    Node directory(const std::string& name, std::uint64_t inode, std::vector<Node> nodes) {
        Node node;
        node.name = name;
        node.type = NodeType::dir;
        node.inode = inode;
        node.subtree = tree(std::move(nodes));
        return node;
    }
    BlobId tree(std::vector<Node> nodes) {
        TreeEncoder encoder(GoRules::go122, Zone::utc());
        auto json = encode_tree(nodes, encoder);
        EXPECT_TRUE(json.ok());
        auto saved = session_->save(BlobType::tree, *json);
        EXPECT_TRUE(saved.ok());
        return saved->id;
    }
    void finish() { ASSERT_TRUE(session_->checkpoint().ok()); }
    Result<Names> find(const BlobId& root, const std::vector<std::uint64_t>& inodes) {
        auto found = names_of_inodes(repository_->blobs(), root, inodes);
        if (found.ok()) std::ranges::sort(*found);
        return found;
    }

    SystemClock clock_;
    MemoryBackend backend_;
    std::unique_ptr<Repository> repository_;
    std::unique_ptr<WriteSession> session_;
};

}  // namespace

TEST_F(InodeNamesTest, EveryNameOfEveryInodeIsFoundAndNoDirectory) {
    BlobId root = tree({directory("a", 10,
                                  {file("one", 1), file("two", 2),
                                   directory("b", 11, {file("again", 1), file("three", 3)})}),
                        file("top", 1), directory("z", 1, {})});
    finish();
    auto found = find(root, {1, 3, 77});
    ASSERT_TRUE(found.ok()) << found.error().message();
    EXPECT_EQ(*found, (Names{{1, "/a/b/again"}, {1, "/a/one"}, {1, "/top"}, {3, "/a/b/three"}}));
    auto none = find(root, {77});
    ASSERT_TRUE(none.ok());
    EXPECT_TRUE(none->empty());
}

TEST_F(InodeNamesTest, ATreeThatCannotBeReadIsAnError) {
    Node lost = directory("lost", 10, {});
    lost.subtree->bytes[0] ^= 1;
    BlobId root = tree({file("one", 1), lost});
    finish();
    EXPECT_FALSE(find(root, {1}).ok());
}

TEST_F(InodeNamesTest, AStopEndsIt) {
    BlobId root = tree({file("one", 1)});
    finish();
    std::stop_source stop;
    stop.request_stop();
    auto found = names_of_inodes(repository_->blobs(), root, {1}, stop.get_token());
    ASSERT_FALSE(found.ok());
    EXPECT_EQ(found.error().kind(), ErrorKind::cancelled);
}

// The time is for people: a promise about it would fail on a busy machine.
TEST_F(InodeNamesTest, ManyDirectoriesAreSharedByTheThreads) {
    std::vector<Node> top;
    constexpr std::uint64_t kFiles = 25;
    std::uint64_t inode = 1;
    for (int i = 0; i < 100; ++i) {
        std::vector<Node> middle;
        for (int k = 0; k < 60; ++k) {
            std::vector<Node> files;
            for (std::uint64_t f = 0; f < kFiles; ++f)
                files.push_back(file("file number " + std::to_string(f), inode++));
            middle.push_back(directory("d" + std::to_string(k), inode++, std::move(files)));
        }
        top.push_back(directory("d" + std::to_string(i), inode++, std::move(middle)));
    }
    std::ranges::sort(top, {}, &Node::name);
    BlobId root = tree(std::move(top));
    finish();
    auto begin = std::chrono::steady_clock::now();
    auto found = find(root, {1, inode - 3});
    auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(found.ok()) << found.error().message();
    EXPECT_EQ(found->size(), 2u);
    std::printf(
        "%d ms for %d nodes\n",
        static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()),
        static_cast<int>(inode));
}

}  // namespace backup
