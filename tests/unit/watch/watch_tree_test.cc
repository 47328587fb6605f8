#include "daemon/watch/watch_tree.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace backup {

namespace {
using Node = WatchTree::Node;
constexpr Node kNone = WatchTree::kNone;
}  // namespace

class WatchTreeTest : public testing::Test {
  protected:
    WatchTree tree_;
    const Node root_ = tree_.add_root("/top", 1, "h-root");
    const Node a_ = tree_.add(root_, "a", 2, "h-a");
    const Node b_ = tree_.add(a_, "b", 3, "h-b");
    const Node c_ = tree_.add(b_, "c", 4, "h-c");

    std::set<int> remove(Node node) {
        std::set<int> watches;
        tree_.remove(node, [&](int watch) { watches.insert(watch); });
        return watches;
    }
};

TEST_F(WatchTreeTest, ComposesPathsAndFindsByEverything) {
    EXPECT_EQ(tree_.path(root_), "/top");
    EXPECT_EQ(tree_.path(c_), "/top/a/b/c");
    EXPECT_EQ(tree_.by_watch(3), b_);
    EXPECT_EQ(tree_.by_watch(9), kNone);
    EXPECT_EQ(tree_.by_handle("h-b"), b_);
    EXPECT_EQ(tree_.by_handle("h-z"), kNone);
    EXPECT_EQ(tree_.child(a_, "b"), b_);
    EXPECT_EQ(tree_.child(a_, "c"), kNone);
    EXPECT_EQ(tree_.size(), 4U);
    EXPECT_EQ(tree_.unwatched(), 0U);
}

TEST(WatchTree, TheRootOfEverythingHasNoDoubleSlash) {
    WatchTree tree;
    const Node root = tree.add_root("/", 1, "r");
    EXPECT_EQ(tree.path(root), "/");
    EXPECT_EQ(tree.path(tree.add(root, "etc", 2, "e")), "/etc");
}

TEST_F(WatchTreeTest, ARenameMovesWhatLiesBelow) {
    EXPECT_TRUE(tree_.place(b_, root_, "moved"));
    EXPECT_EQ(tree_.path(c_), "/top/moved/c");
    EXPECT_EQ(tree_.child(a_, "b"), kNone);
    EXPECT_EQ(tree_.child(root_, "moved"), b_);
    EXPECT_TRUE(tree_.children(a_).empty());
}

TEST_F(WatchTreeTest, NothingIsPlacedBelowItself) {
    EXPECT_FALSE(tree_.place(a_, c_, "x"));
    EXPECT_FALSE(tree_.place(a_, a_, "x"));
    EXPECT_FALSE(tree_.place(root_, a_, "x"));
    EXPECT_EQ(tree_.path(c_), "/top/a/b/c");
}

TEST_F(WatchTreeTest, AdriftHasNoPathUntilItIsPlaced) {
    tree_.set_adrift(b_);
    EXPECT_TRUE(tree_.is_adrift(b_));
    EXPECT_EQ(tree_.path(b_), std::nullopt);
    EXPECT_EQ(tree_.path(c_), std::nullopt);
    EXPECT_EQ(tree_.adrift().size(), 1U);
    EXPECT_TRUE(tree_.place(b_, root_, "back"));
    EXPECT_FALSE(tree_.is_adrift(b_));
    EXPECT_EQ(tree_.path(c_), "/top/back/c");
    EXPECT_TRUE(tree_.adrift().empty());
}

TEST_F(WatchTreeTest, WhoLosesItsPlaceToAnotherIsRemembered) {
    const Node other = tree_.add(root_, "other", 5, "h-other");
    EXPECT_TRUE(tree_.place(other, root_, "a"));
    EXPECT_TRUE(tree_.is_adrift(a_));
    EXPECT_EQ(tree_.displaced(root_, "a"), a_);
    EXPECT_EQ(tree_.displaced(root_, "b"), kNone);
    EXPECT_EQ(tree_.child(root_, "a"), other);
    EXPECT_TRUE(tree_.place(a_, root_, "other"));
    EXPECT_EQ(tree_.displaced(root_, "a"), kNone);
}

TEST_F(WatchTreeTest, RemovingTakesTheSubtreeAndRemembersItsWatches) {
    EXPECT_EQ(remove(a_), (std::set<int>{2, 3, 4}));
    EXPECT_EQ(tree_.size(), 1U);
    EXPECT_EQ(tree_.by_watch(3), kNone);
    EXPECT_EQ(tree_.by_handle("h-c"), kNone);
    EXPECT_EQ(tree_.child(root_, "a"), kNone);
    EXPECT_TRUE(tree_.is_dead(3));
    EXPECT_FALSE(tree_.is_dead(1));
    EXPECT_FALSE(tree_.forget_watch(3));
    EXPECT_FALSE(tree_.is_dead(3));
    // Its place in memory is used again; nothing of it is left.
    const Node next = tree_.add(root_, "next", 7, "h-next");
    EXPECT_TRUE(tree_.children(next).empty());
    EXPECT_EQ(tree_.path(next), "/top/next");
    EXPECT_TRUE(tree_.adrift().empty());
}

TEST_F(WatchTreeTest, AWatchThatEndsLeavesTheDirectory) {
    EXPECT_TRUE(tree_.forget_watch(3));
    EXPECT_EQ(tree_.at(b_).watch, WatchTree::kUnwatched);
    EXPECT_EQ(tree_.unwatched(), 1U);
    tree_.set_watch(b_, 8);
    EXPECT_EQ(tree_.by_watch(8), b_);
    EXPECT_EQ(tree_.unwatched(), 0U);
}

TEST(WatchTree, SiblingsAreTakenOutInAnyOrder) {
    for (int first = 0; first < 3; ++first) {
        WatchTree tree;
        const Node root = tree.add_root("/t", 1, "r");
        std::vector<Node> nodes;
        for (int i = 0; i < 3; ++i)
            nodes.push_back(tree.add(root, std::to_string(i), 2 + i, "h" + std::to_string(i)));
        tree.set_adrift(nodes[static_cast<std::size_t>(first)]);
        auto left = tree.children(root);
        EXPECT_EQ(left.size(), 2U);
        EXPECT_EQ(std::ranges::count(left, nodes[static_cast<std::size_t>(first)]), 0);
    }
}

TEST(WatchTree, ADeepTreeNeedsNoStack) {
    WatchTree tree;
    const Node root = tree.add_root("/t", 1, "r");
    Node at = root;
    for (int i = 0; i < 100'000; ++i) at = tree.add(at, "d", 2 + i, "h" + std::to_string(i));
    EXPECT_EQ(tree.path(at)->size(), 2U + 200'000U);
    std::size_t removed = 0;
    tree.remove(tree.child(root, "d"), [&](int) { ++removed; });
    EXPECT_EQ(removed, 100'000U);
    EXPECT_EQ(tree.size(), 1U);
}

}  // namespace backup
