#include "daemon/jobs/checkpoints.h"

#include <gtest/gtest.h>

#include "tests/support/memory_state.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

Checkpoint checkpoint_with(std::uint64_t bytes) {
    Checkpoint checkpoint;
    checkpoint.tree.bytes[0] = 1;
    checkpoint.files = 3;
    checkpoint.bytes = bytes;
    checkpoint.unsettled = {"/moving"};
    HalfFile half;
    half.path = "/big";
    half.inode = 5;
    half.size = 1000;
    half.mtime = {-7, 8};
    half.ctime = {9, 10};
    half.bytes = 600;
    half.content.resize(2);
    half.content[1].bytes[31] = 0xff;
    checkpoint.half = {half};
    return checkpoint;
}

class CheckpointRecords : public testing::Test {
  protected:
    CheckpointKeeper keeper() {
        return {state, "home", CheckpointRecord{.repository_id = "repo", .job = 4}};
    }
    MemoryState state;
    TestClock clock;
};

TEST_F(CheckpointRecords, ComeBackAsTheyWere) {
    const Checkpoint checkpoint = checkpoint_with(100);
    ASSERT_TRUE(keeper().keep(checkpoint, clock.now()).ok());
    auto found = find_checkpoint(state, "home", "repo", clock.now());
    ASSERT_TRUE(found);
    EXPECT_EQ(found->job, 4u);
    auto back = checkpoint_of(*found);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->tree, checkpoint.tree);
    EXPECT_EQ(back->files, 3u);
    EXPECT_EQ(back->unsettled, checkpoint.unsettled);
    ASSERT_EQ(back->half.size(), 1u);
    EXPECT_EQ(back->half[0].mtime, checkpoint.half[0].mtime);
    EXPECT_EQ(back->half[0].ctime, checkpoint.half[0].ctime);
    EXPECT_EQ(back->half[0].content, checkpoint.half[0].content);
    EXPECT_EQ(back->half[0].bytes, 600u);
}

TEST_F(CheckpointRecords, AreOfOneRepositoryAndOneSet) {
    ASSERT_TRUE(keeper().keep(checkpoint_with(100), clock.now()).ok());
    EXPECT_FALSE(find_checkpoint(state, "home", "another", clock.now()));
    EXPECT_FALSE(find_checkpoint(state, "photos", "repo", clock.now()));
    EXPECT_TRUE(kept_by_checkpoints(state, "another", clock.now())->empty());
    auto kept = kept_by_checkpoints(state, "repo", clock.now());
    ASSERT_EQ(kept->size(), 1u);
    EXPECT_EQ(kept->front().data.size(), 2u) << "the chunks of the half file";
}

TEST_F(CheckpointRecords, Expire) {
    ASSERT_TRUE(keeper().keep(checkpoint_with(100), clock.now()).ok());
    clock.advance(kCheckpointLasts - 1s);
    EXPECT_TRUE(find_checkpoint(state, "home", "repo", clock.now()));
    EXPECT_EQ(kept_by_checkpoints(state, "repo", clock.now())->size(), 1u);
    clock.advance(2s);
    EXPECT_FALSE(find_checkpoint(state, "home", "repo", clock.now()));
    EXPECT_TRUE(kept_by_checkpoints(state, "repo", clock.now())->empty());
    EXPECT_TRUE(state.checkpoint("home").value()) << "looking changes nothing";
    ASSERT_TRUE(drop_expired_checkpoints(state, "repo", clock.now()).ok());
    EXPECT_FALSE(state.checkpoint("home").value()) << "and the record is gone";
}

TEST_F(CheckpointRecords, TakePacksWithThemThatNoIndexNames) {
    ASSERT_TRUE(state.put_pack("repo", {std::string(32, 'p'), "home", 5, clock.now()}, true).ok());
    ASSERT_TRUE(
        state.put_pack("another", {std::string(32, 'q'), "home", 5, clock.now()}, true).ok());
    auto kept = kept_by_checkpoints(state, "repo", clock.now());
    ASSERT_EQ(kept->size(), 1u);
    EXPECT_FALSE(kept->front().tree);
    ASSERT_EQ(kept->front().packs.size(), 1u);
    EXPECT_EQ(kept->front().packs[0].bytes[0], 'p');
    clock.advance(kCheckpointLasts + 1s);
    EXPECT_TRUE(kept_by_checkpoints(state, "repo", clock.now())->empty());
    EXPECT_EQ(state.packs("repo")->size(), 1u) << "looking changes nothing";
    ASSERT_TRUE(drop_expired_checkpoints(state, "repo", clock.now()).ok());
    EXPECT_TRUE(state.packs("repo")->empty());
}

TEST_F(CheckpointRecords, DoNotExpireBecauseTheClockWasSetBack) {
    ASSERT_TRUE(keeper().keep(checkpoint_with(100), clock.now() + 24h * 365).ok());
    EXPECT_TRUE(find_checkpoint(state, "home", "repo", clock.now()));
}

TEST_F(CheckpointRecords, DoNotGiveWayToOneThatHoldsLess) {
    CheckpointKeeper first = keeper();
    ASSERT_TRUE(first.keep(checkpoint_with(100), clock.now()).ok());
    CheckpointKeeper second = keeper();
    second.resumes(100);
    ASSERT_TRUE(second.keep(checkpoint_with(20), clock.now()).ok());
    EXPECT_EQ(state.checkpoint("home").value()->bytes, 100u);
    EXPECT_FALSE(second.kept());
    ASSERT_TRUE(second.keep(checkpoint_with(120), clock.now()).ok());
    EXPECT_EQ(state.checkpoint("home").value()->bytes, 120u);
}

}  // namespace
}  // namespace backup
