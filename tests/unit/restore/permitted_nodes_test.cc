// What find_node and visit_nodes show to somebody who does not see all.
#include <gtest/gtest.h>

#include "daemon/restore/restore.h"
#include "tests/unit/restore/revision_maker.h"

namespace backup {
namespace {

using Paths = std::vector<std::string>;

Node owned(Node node, std::uint32_t mode, std::uint32_t uid, const std::string& name) {
    node.mode = go_mode((node.unix_mode() & S_IFMT) | mode);
    node.uid = node.gid = uid;
    node.user = node.group = name;
    return node;
}
Node alices(Node node, std::uint32_t mode) {
    return owned(std::move(node), mode, 1001, "alice");
}
Node bobs(Node node, std::uint32_t mode) {
    return owned(std::move(node), mode, 1002, "bob");
}
Node roots(Node node, std::uint32_t mode) {
    return owned(std::move(node), mode, 0, "root");
}

class PermittedNodes : public testing::Test {
  protected:
    PermittedNodes() {
        std::vector<Node> closed, passage, home, bare;
        closed.push_back(bobs(maker_.file("letter", "x"), 0644));
        passage.push_back(bobs(maker_.file("known", "x"), 0644));
        passage.push_back(bobs(maker_.file("secret", "x"), 0600));
        passage.push_back(alices(maker_.file("hers", "x"), 0600));
        home.push_back(bobs(maker_.dir("closed", std::move(closed)), 0700));
        home.push_back(bobs(maker_.dir("passage", std::move(passage)), 0711));
        home.push_back(bobs(maker_.dir("names", {bobs(maker_.file("n", "x"), 0644)}), 0744));
        home.push_back(bobs(maker_.symlink("out", "/home/closed/letter"), 0777));
        home.push_back(alices(maker_.dir("own", {alices(maker_.file("f", "x"), 0600)}), 0700));
        // As another program leaves directories that it did not look at.
        Node without = maker_.dir("without", {alices(maker_.file("f", "x"), 0600)});
        without.mode = go_mode(S_IFDIR);
        without.uid = without.gid = 0;
        without.user = without.group = "";
        std::vector<Node> root;
        root.push_back(roots(maker_.dir("home", std::move(home)), 0755));
        root.push_back(std::move(without));
        tree_ = maker_.repository().load_revision(maker_.commit(std::move(root)))->tree;
        EXPECT_TRUE(maker_.repository().refresh_index({}).ok());
    }
    Result<FoundNode> find(const std::string& path) {
        return find_node(maker_.repository(), tree_, path, rule_);
    }
    Paths visited(const std::string& path, bool recursive) {
        Paths paths;
        EXPECT_TRUE(visit_nodes(
                        maker_.repository(), *find(path), recursive,
                        [&](const std::string& at, const Node&) -> Result<> {
                            paths.push_back(at);
                            return {};
                        },
                        {}, rule_)
                        .ok());
        return paths;
    }

    RevisionMaker maker_;
    BlobId tree_;
    const AccessRule rule_{NamedCaller{1001, "alice", {{1001, "alice"}}}};
};

TEST_F(PermittedNodes, BehindAClosedDirectoryNothingIsThereForAnybodyElse) {
    const auto there = find("/home/closed/letter"), missing = find("/home/closed/missing");
    ASSERT_FALSE(there.ok());
    ASSERT_FALSE(missing.ok());
    for (const auto* error : {&there.error(), &missing.error()}) {
        EXPECT_EQ(error->code(), ErrorCode::no_such_path);
        EXPECT_EQ(error->kind(), ErrorKind::not_found);
    }
    std::string words = there.error().message();
    words.replace(words.find("letter"), 6, "missing");
    EXPECT_EQ(words, missing.error().message()) << "the same words";
    EXPECT_TRUE(find_node(maker_.repository(), tree_, "/home/closed/letter").ok());
}

TEST_F(PermittedNodes, TheClosedDirectoryItselfIsSeenAndNotListed) {
    const auto closed = find("/home/closed");
    ASSERT_TRUE(closed.ok());
    for (const bool recursive : {false, true}) {
        const auto listed = visit_nodes(
            maker_.repository(), *closed, recursive,
            [](const std::string& path, const Node&) -> Result<> {
                ADD_FAILURE() << path;
                return {};
            },
            {}, rule_);
        ASSERT_FALSE(listed.ok());
        EXPECT_EQ(listed.error().code(), ErrorCode::access_denied);
    }
}

TEST_F(PermittedNodes, WhatIsKnownByNameIsFoundInADirectoryThatCanOnlyBePassed) {
    EXPECT_TRUE(rule_.may_open(find("/home/passage/known")->node));
    EXPECT_TRUE(rule_.may_open(find("/home/passage/hers")->node));
    EXPECT_FALSE(rule_.may_open(find("/home/passage/secret")->node)) << "seen, not read";
    EXPECT_FALSE(find("/home/names/n").ok()) << "names alone lead nowhere";
}

TEST_F(PermittedNodes, ADirectoryWithoutMetadataIsClosed) {
    EXPECT_FALSE(find("/without/f").ok());
}

TEST_F(PermittedNodes, AListingTellsOfDirectoriesThatItDoesNotEnter) {
    EXPECT_EQ(visited("/home", true), (Paths{"/home/closed", "/home/names", "/home/out",
                                             "/home/own", "/home/own/f", "/home/passage"}));
    EXPECT_EQ(visited("/", false), (Paths{"/home", "/without"}));
}

}  // namespace
}  // namespace backup
