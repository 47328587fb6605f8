#include "daemon/queue/change_queue.h"

#include <gtest/gtest.h>

#include "tests/unit/queue/queue_text.h"

namespace backup {

namespace {

using Move = WatchBatch::DirectoryMove;

Timestamp at(int seconds) {
    return Timestamp(std::chrono::seconds(seconds));
}

class ChangeQueueTest : public testing::Test {
  protected:
    void changed(const std::string& directory, const std::string& name, int seconds = 1,
                 bool content = true) {
        WatchBatch batch;
        batch.names.push_back({directory, name, content, false});
        queue_.absorb("v", batch, at(seconds));
    }
    void moved(const std::string& object, const std::string& from, const std::string& from_name,
               const std::string& to, const std::string& to_name,
               Move::Kind kind = Move::Kind::moved) {
        WatchBatch batch;
        batch.moves.push_back({kind, object, from, to, from_name, to_name});
        queue_.absorb("v", batch, at(1));
    }
    void born(const std::string& object, const std::string& to, const std::string& name) {
        moved(object, "", "", to, name, Move::Kind::born);
    }
    const DirectoryMarks* directory(const std::string& handle) const {
        auto volume = queue_.volumes().find("v");
        if (volume == queue_.volumes().end()) return nullptr;
        auto found = volume->second.directories.find(handle);
        return found == volume->second.directories.end() ? nullptr : &found->second;
    }
    const Mark* name(const std::string& handle, const std::string& name) const {
        const DirectoryMarks* marks = directory(handle);
        return marks == nullptr ? nullptr : marks->names.find(name);
    }
    bool has_subtree(const std::string& handle) const {
        const DirectoryMarks* marks = directory(handle);
        return marks != nullptr && marks->subtree() != nullptr;
    }
    const DirectoryOrigin* origin(const std::string& handle) const {
        auto volume = queue_.volumes().find("v");
        if (volume == queue_.volumes().end()) return nullptr;
        auto found = volume->second.origins.find(handle);
        return found == volume->second.origins.end() ? nullptr : &found->second;
    }

    ChangeQueue queue_{{.names_of_directory = 10, .marks = 1000}};
};

}  // namespace

TEST_F(ChangeQueueTest, AMarkThatWasRenewedDuringTheRunStays) {
    changed("D", "seen");
    changed("D", "again");
    FrozenMarks frozen = queue_.freeze();
    changed("D", "again");
    changed("D", "later");
    queue_.clear(frozen);
    EXPECT_EQ(name("D", "seen"), nullptr);
    EXPECT_NE(name("D", "again"), nullptr);
    EXPECT_NE(name("D", "later"), nullptr);
    EXPECT_EQ(queue_.size(), 2u);
}

TEST_F(ChangeQueueTest, WithoutClearEveryMarkStays) {
    changed("D", "a");
    std::string before = queue_text(queue_);
    queue_.freeze();
    EXPECT_EQ(queue_text(queue_), before);
}

TEST_F(ChangeQueueTest, ClearLeavesVolumesThatWereTakenOutOfTheFrozenMarks) {
    changed("D", "a");
    queue_.mark_everything("away", "unmounted", at(1));
    FrozenMarks frozen = queue_.freeze();
    frozen.volumes.erase("away");
    queue_.clear(frozen);
    EXPECT_EQ(queue_.size(), 1u);
    EXPECT_TRUE(queue_.volumes().at("away").has_everything());
}

TEST_F(ChangeQueueTest, RepeatedChangesOfANameAreOneMarkWithTheFirstTimeAndTheLastGeneration) {
    for (int i = 1; i <= 1000; ++i) changed("D", "a", i, i == 500);
    EXPECT_EQ(queue_.size(), 1u);
    const Mark* mark = name("D", "a");
    ASSERT_NE(mark, nullptr);
    EXPECT_EQ(mark->generation, queue_.generation());
    EXPECT_EQ(mark->first_seen, at(1));
    EXPECT_TRUE(mark->content);
    EXPECT_EQ(queue_.newest(), at(1000));
}

TEST_F(ChangeQueueTest, WhatStaysAfterARunIsOnlyAsOldAsWhatTheRunDidNotSee) {
    changed("D", "a", 5);
    changed("D", "b", 7);
    FrozenMarks frozen = queue_.freeze();
    changed("D", "a", 9);
    EXPECT_EQ(queue_.oldest(), at(5));
    queue_.clear(frozen);
    EXPECT_EQ(queue_.oldest(), at(7));
}

TEST_F(ChangeQueueTest, RescanOfDirectoryAbsorbsItsChildren) {
    changed("D", "a", 3);
    changed("D", "b", 2);
    queue_.mark_listing("v", "D", at(4));
    EXPECT_EQ(queue_.size(), 1u);
    ASSERT_NE(directory("D")->listing(), nullptr);
    EXPECT_EQ(directory("D")->listing()->first_seen, at(2));
    changed("D", "c", 5);
    EXPECT_EQ(queue_.size(), 1u);
    EXPECT_EQ(directory("D")->listing()->generation, queue_.generation());
}

TEST_F(ChangeQueueTest, TooManyNamesOfADirectoryBecomeItsListingWithTheLargestGeneration) {
    for (int i = 0; i < 11; ++i) changed("D", std::to_string(i), 10 - i);
    changed("E", "other");
    ASSERT_NE(directory("D")->listing(), nullptr);
    EXPECT_TRUE(directory("D")->names.empty());
    EXPECT_EQ(directory("D")->listing()->generation, queue_.generation() - 1);
    EXPECT_EQ(directory("D")->listing()->first_seen, at(0));
    EXPECT_TRUE(directory("D")->listing()->content);
    EXPECT_NE(name("E", "other"), nullptr);
}

TEST_F(ChangeQueueTest, NamesThatMustBeReadStayBesideAListing) {
    queue_.mark_name("v", "D", "precious", true, true, at(1));
    for (int i = 0; i < 20; ++i) changed("D", std::to_string(i));
    ASSERT_NE(directory("D")->listing(), nullptr);
    ASSERT_NE(name("D", "precious"), nullptr);
    EXPECT_TRUE(name("D", "precious")->must_read);
    EXPECT_EQ(directory("D")->names.size(), 1u);
}

TEST_F(ChangeQueueTest, AChangeDuringTheRunDoesNotKeepTheListingAlive) {
    queue_.mark_listing("v", "D", at(1));
    FrozenMarks frozen = queue_.freeze();
    changed("D", "a");
    queue_.clear(frozen);
    EXPECT_EQ(directory("D")->listing(), nullptr);
    EXPECT_NE(name("D", "a"), nullptr);
}

TEST_F(ChangeQueueTest, LostRecordsMarkEverythingAndSayWhy) {
    WatchBatch batch;
    batch.lost = "the kernel's queue overflowed";
    queue_.absorb("v", batch, at(1));
    EXPECT_TRUE(queue_.volumes().at("v").has_everything());
    EXPECT_EQ(queue_.volumes().at("v").everything_reason, "the kernel's queue overflowed");
    queue_.clear(queue_.freeze());
    EXPECT_TRUE(queue_.empty());
}

TEST_F(ChangeQueueTest, ARecordThatCannotBeTrueMarksEverything) {
    for (const char* odd : {"", ".", "..", "a/b"}) {
        ChangeQueue queue;
        WatchBatch batch;
        batch.names.push_back({"D", odd});
        queue.absorb("v", batch, at(1));
        EXPECT_TRUE(queue.volumes().at("v").has_everything()) << odd;
    }
    WatchBatch batch;
    batch.objects.push_back("");
    queue_.absorb("v", batch, at(1));
    EXPECT_TRUE(queue_.volumes().at("v").has_everything());
}

TEST_F(ChangeQueueTest, AnEmptyBatchChangesNothing) {
    queue_.absorb("v", {}, at(1));
    WatchBatch gone;
    gone.gone = true;
    queue_.absorb("v", gone, at(1));
    EXPECT_EQ(queue_.generation(), 0u);
    EXPECT_FALSE(queue_.has_records());
    EXPECT_TRUE(queue_.volumes().empty());
}

TEST_F(ChangeQueueTest, AMoveMarksBothNamesAndRemembersTheFirstPlace) {
    moved("H", "D", "a", "E", "b");
    EXPECT_NE(name("D", "a"), nullptr);
    EXPECT_NE(name("E", "b"), nullptr);
    moved("H", "E", "b", "F", "c");
    ASSERT_NE(origin("H"), nullptr);
    EXPECT_EQ(origin("H")->kind, DirectoryOrigin::Kind::at);
    EXPECT_EQ(origin("H")->directory, "D");
    EXPECT_EQ(origin("H")->name, "a");
    EXPECT_EQ(origin("H")->generation, queue_.generation());
    queue_.clear(queue_.freeze());
    EXPECT_EQ(origin("H"), nullptr);
}

TEST_F(ChangeQueueTest, ADirectoryMadeSinceTheRevisionWasNowhereHoweverOftenItMoves) {
    born("H", "D", "a");
    moved("H", "D", "a", "E", "b");
    ASSERT_NE(origin("H"), nullptr);
    EXPECT_EQ(origin("H")->kind, DirectoryOrigin::Kind::born);
    EXPECT_TRUE(origin("H")->moved);
}

TEST_F(ChangeQueueTest, AHandleThatIsBornAgainIsAnotherDirectory) {
    moved("H", "D", "a", "E", "b");
    born("H", "E", "c");
    EXPECT_EQ(origin("H")->kind, DirectoryOrigin::Kind::born);
    EXPECT_FALSE(origin("H")->moved);
}

TEST_F(ChangeQueueTest, AnArrivalFromNowhereIsNotTrusted) {
    moved("H", "D", "a", "E", "b");
    moved("H", "", "", "D", "a", Move::Kind::arrived);
    EXPECT_EQ(origin("H")->kind, DirectoryOrigin::Kind::unknown);
    moved("K", "", "", "D", "k");
    EXPECT_EQ(origin("K")->kind, DirectoryOrigin::Kind::unknown);
}

TEST_F(ChangeQueueTest, OriginsFromBeforeALossAreAGuess) {
    moved("H", "D", "a", "E", "b");
    born("N", "D", "new");
    queue_.take_records();
    queue_.distrust_origins();
    EXPECT_TRUE(queue_.has_records());
    moved("K", "D", "k", "E", "k");
    EXPECT_EQ(origin("H")->kind, DirectoryOrigin::Kind::unknown);
    EXPECT_EQ(origin("H")->directory, "D");
    EXPECT_EQ(origin("H")->name, "a");
    EXPECT_TRUE(origin("N")->moved);
    EXPECT_EQ(origin("K")->kind, DirectoryOrigin::Kind::at);
    auto again = ChangeQueue::load(queue_.all_records());
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->volumes().at("v").origins.at("H").kind, DirectoryOrigin::Kind::unknown);
}

TEST_F(ChangeQueueTest, AMoveOfADirectoryThatNobodyNamesMarksAllBelowItsName) {
    moved("", "D", "a", "E", "b");
    ASSERT_NE(name("E", "b"), nullptr);
    EXPECT_TRUE(name("E", "b")->deep);
    EXPECT_FALSE(name("D", "a")->deep);
}

TEST_F(ChangeQueueTest, ADirectoryRenamedDuringTheRunIsLookedAtAsAWholeAfterIt) {
    changed("H", "file");
    queue_.mark_name("v", "H", "precious", true, true, at(1));
    born("N", "D", "new");
    FrozenMarks frozen = queue_.freeze();
    moved("H", "D", "a", "D", "b");
    moved("H", "D", "b", "D", "a");
    born("M", "D", "newer");
    queue_.clear(frozen);
    EXPECT_TRUE(has_subtree("H"));
    EXPECT_EQ(name("H", "file"), nullptr);
    // The comparison below H would not read it.
    ASSERT_NE(name("H", "precious"), nullptr);
    EXPECT_FALSE(has_subtree("N"));
    EXPECT_FALSE(has_subtree("M"));
    EXPECT_NE(origin("H"), nullptr);
    queue_.clear(queue_.freeze());
    EXPECT_TRUE(queue_.empty());
    EXPECT_TRUE(queue_.volumes().at("v").origins.empty());
}

TEST_F(ChangeQueueTest, ADirectoryThatLeftIsForgottenOnlyByARunThatKnewOfIt) {
    queue_.mark_left_scope("v");
    FrozenMarks frozen = queue_.freeze();
    EXPECT_NE(frozen.volumes.at("v").left_scope, 0u);
    queue_.mark_left_scope("v");
    queue_.clear(frozen);
    EXPECT_NE(queue_.volumes().at("v").left_scope, 0u);
    queue_.clear(queue_.freeze());
    EXPECT_EQ(queue_.volumes().at("v").left_scope, 0u);
}

TEST_F(ChangeQueueTest, DropsOnlyWhatWasNotRenewed) {
    changed("D", "a");
    Generation seen = queue_.generation();
    changed("D", "b");
    queue_.drop_name("v", "D", "a", seen);
    queue_.drop_name("v", "D", "b", seen);
    EXPECT_EQ(name("D", "a"), nullptr);
    EXPECT_NE(name("D", "b"), nullptr);
    WatchBatch batch;
    batch.objects = {"O"};
    queue_.absorb("v", batch, at(1));
    queue_.drop_object("v", "O", seen);
    EXPECT_EQ(queue_.size(), 2u);
    queue_.drop_object("v", "O", queue_.generation());
    queue_.drop_directory("v", "D", seen);
    EXPECT_EQ(queue_.size(), 1u);
    queue_.drop_directory("v", "D", queue_.generation());
    EXPECT_TRUE(queue_.empty());
    queue_.drop_name("other", "D", "a", seen);
}

TEST_F(ChangeQueueTest, TooManyMarksBecomeListingsOfTheFullestDirectories) {
    ChangeQueue queue({.names_of_directory = 100, .marks = 200});
    for (int i = 0; i < 90; ++i)
        queue.mark_name("v", "D", "d" + std::to_string(i), false, false, at(1));
    for (int i = 0; i < 90; ++i)
        queue.mark_name("v", "E", "e" + std::to_string(i), false, false, at(1));
    for (int i = 0; i < 21; ++i)
        queue.mark_name("v", "F", "f" + std::to_string(i), false, false, at(1));
    EXPECT_NE(queue.volumes().at("v").directories.at("D").listing(), nullptr);
    EXPECT_NE(queue.volumes().at("v").directories.at("E").listing(), nullptr);
    EXPECT_EQ(queue.volumes().at("v").directories.at("F").names.size(), 21u);
    EXPECT_FALSE(queue.volumes().at("v").has_everything());
}

TEST_F(ChangeQueueTest, FarTooManyMarksBecomeEverythingAndLoseNothing) {
    queue_.mark_name("v", "D", "precious", true, true, at(1));
    for (int i = 0; i < 1001; ++i) changed("D" + std::to_string(i), "a", i + 2);
    const VolumeMarks& volume = queue_.volumes().at("v");
    ASSERT_TRUE(volume.has_everything());
    EXPECT_TRUE(volume.everything.must_read);
    EXPECT_TRUE(volume.everything.content);
    EXPECT_EQ(volume.everything.first_seen, at(1));
    EXPECT_EQ(queue_.oldest(), at(1));
    EXPECT_LT(queue_.size(), 1000u);
    EXPECT_FALSE(volume.everything_reason.empty());
}

TEST_F(ChangeQueueTest, NewDirectoriesCountAgainstTheLimitToo) {
    for (int i = 0; i < 5000; ++i) born("H" + std::to_string(i), "D", "d" + std::to_string(i % 5));
    EXPECT_LE(queue_.volumes().at("v").origins.size(), 1000u);
    EXPECT_TRUE(queue_.volumes().at("v").has_everything());
}

TEST_F(ChangeQueueTest, ForgettingAVolumeLeavesTheOthers) {
    changed("D", "a");
    born("H", "D", "b");
    queue_.mark_everything("w", "new", at(1));
    queue_.forget_volume("v");
    queue_.forget_volume("unheard of");
    EXPECT_EQ(queue_.volumes().count("v"), 0u);
    EXPECT_EQ(queue_.size(), 1u);
}

}  // namespace backup
