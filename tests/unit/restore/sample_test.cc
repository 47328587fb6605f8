#include "daemon/restore/sample.h"

#include <map>
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/restore/revision_maker.h"

namespace backup {
namespace {

class SampleTest : public ::testing::Test {
  protected:
    FoundNode root(std::vector<Node> entries) {
        const RevisionId id = maker_.commit(std::move(entries));
        EXPECT_TRUE(maker_.repository().refresh_index({}).ok());
        FoundNode found;
        found.path = "/";
        found.node.type = NodeType::dir;
        found.node.subtree = maker_.repository().load_revision(id)->tree;
        return found;
    }
    Sample draw(const FoundNode& start, const SampleLimits& limits) {
        Result<Sample> sample = draw_sample(maker_.repository(), {start}, limits, random_, {});
        EXPECT_TRUE(sample.ok());
        return sample.ok() ? std::move(*sample) : Sample{};
    }
    std::vector<Node> many(unsigned count) {
        std::vector<Node> files;
        for (unsigned i = 0; i < count; ++i)
            files.push_back(maker_.file("f" + std::to_string(100 + i), "x"));
        return files;
    }

    RevisionMaker maker_;
    std::mt19937_64 random_{42};
};

TEST_F(SampleTest, OfFewEverythingThatCanBeTriedIsChosen) {
    const FoundNode all =
        root({maker_.dir("d", {maker_.file("a", "one"), maker_.symlink("l", "a")}),
              maker_.file("b", "two"), maker_.special("pipe", NodeType::fifo, S_IFIFO),
              maker_.special("socket", NodeType::socket, S_IFSOCK),
              maker_.special("null", NodeType::chardev, S_IFCHR, 259)});
    const Sample sample = draw(all, {});
    std::vector<std::string> paths;
    for (const FoundNode& one : sample.chosen) paths.push_back(one.path);
    EXPECT_EQ(paths, (std::vector<std::string>{"/b", "/d/a", "/d/l", "/pipe"}));
    EXPECT_EQ(sample.bytes, 6u);
    EXPECT_TRUE(sample.damaged.empty());
}

TEST_F(SampleTest, EveryFileIsAsLikelyHoweverDeepItIs) {
    std::vector<Node> deep = many(20);
    for (int i = 0; i < 10; ++i) deep = {maker_.dir("d", std::move(deep))};
    std::vector<Node> all = many(20);
    all.push_back(std::move(deep.front()));
    const FoundNode start = root(std::move(all));
    std::map<std::string, unsigned> times;
    constexpr unsigned kDraws = 2000;
    for (unsigned i = 0; i < kDraws; ++i)
        for (const FoundNode& one : draw(start, {.files = 4}).chosen) ++times[one.path];
    ASSERT_EQ(times.size(), 40u);
    // 200 on average; the generator is the same each time, so this does not depend on luck.
    for (const auto& [path, count] : times) {
        EXPECT_GT(count, 130u) << path;
        EXPECT_LT(count, 270u) << path;
    }
}

TEST_F(SampleTest, OfALargeTreeOtherDirectoriesAreLookedAtEachTime) {
    std::vector<Node> all;
    for (int i = 0; i < 200; ++i)
        all.push_back(maker_.dir("d" + std::to_string(i), {maker_.file("f", std::to_string(i))}));
    const FoundNode start = root(std::move(all));
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const Sample sample = draw(start, {.directories = 11});
        EXPECT_EQ(sample.chosen.size(), 10u);
        for (const FoundNode& one : sample.chosen) seen.insert(one.path);
    }
    EXPECT_GT(seen.size(), 180u);
}

TEST_F(SampleTest, FilesThatAreTooLargeTogetherAreLeftOutAndThoseTooLargeAloneAreCounted) {
    const FoundNode start =
        root({maker_.file("large", std::string(5000, 'x')), maker_.file("a", std::string(600, 'a')),
              maker_.file("b", std::string(600, 'b'))});
    const Sample sample = draw(start, {.bytes = 1000});
    EXPECT_EQ(sample.chosen.size(), 1u);
    EXPECT_EQ(sample.passed_over, 1u);
    EXPECT_LE(sample.bytes, 1000u);
}

TEST_F(SampleTest, AFileThatIsNamedIsChosenWhateverTheLimitsAre) {
    FoundNode file;
    file.path = "/home/large";
    file.node = maker_.file("large", std::string(5000, 'x'));
    const FoundNode start = root({maker_.file("a", "a")});
    Result<Sample> sample = draw_sample(maker_.repository(), {start, file, file},
                                        {.files = 1, .bytes = 10}, random_, {});
    ASSERT_TRUE(sample.ok());
    ASSERT_EQ(sample->chosen.size(), 1u);
    EXPECT_EQ(sample->chosen[0].path, "/home/large");
}

TEST_F(SampleTest, ADirectoryThatCannotBeReadIsToldAndTheOthersAreLookedAt) {
    Node lost = maker_.dir("lost", {maker_.file("a", "one")});
    const BlobId tree = *lost.subtree;
    const FoundNode start = root({lost, maker_.dir("sound", {maker_.file("b", "two")})});
    maker_.damage({BlobType::tree, tree});
    const Sample sample = draw(start, {});
    ASSERT_EQ(sample.chosen.size(), 1u);
    EXPECT_EQ(sample.chosen[0].path, "/sound/b");
    ASSERT_EQ(sample.damaged.size(), 1u);
    EXPECT_EQ(sample.damaged[0].path, "/lost");
    EXPECT_EQ(sample.damaged[0].error.kind(), ErrorKind::corrupt);
}

}  // namespace
}  // namespace backup
