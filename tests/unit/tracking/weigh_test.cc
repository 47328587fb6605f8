#include "daemon/tracking/weigh.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/support/temp_directory.h"

namespace backup {

namespace {

class WeighTest : public testing::Test {
  protected:
    WeighTest() {
        std::filesystem::create_directories(place("d"));
        directory_ = *handle_of(AT_FDCWD, place("d").c_str());
        resolver_.path_of = [this](const VolumeId&, const ObjectHandle& handle) {
            return handle == directory_ ? std::optional(place("d")) : std::nullopt;
        };
    }
    std::string place(const std::string& name) const { return dir_.path() + "/" + name; }
    void write(const std::string& name, std::size_t bytes) {
        std::ofstream(place("d/" + name)) << std::string(bytes, 'x');
    }
    void mark(const std::string& name) {
        queue_.mark_name("v", directory_, name, true, false, Timestamp{});
    }
    void absorb(WatchBatch::DirectoryMove move) {
        WatchBatch batch;
        batch.moves.push_back(std::move(move));
        queue_.absorb("v", batch, Timestamp{});
    }
    Weight weighed(std::size_t most = 1000) {
        asked_ = 0;
        return weigh(sample_of(queue_, most), resolver_, [&](const std::string& path) {
            ++asked_;
            EXPECT_EQ(path, place("d"));
            return in_revision_;
        });
    }

    TempDirectory dir_;
    ObjectHandle directory_;
    HandleResolver resolver_;
    ChangeQueue queue_;
    std::optional<std::unordered_set<std::string>> in_revision_{std::in_place};
    int asked_ = 0;
};

using Kind = WatchBatch::DirectoryMove::Kind;

}  // namespace

TEST_F(WeighTest, WhatWaitsIsAsManyBytesAsTheMarkedFilesHave) {
    write("a", 1000);
    write("b", 23);
    write("not marked", 5);
    mark("a");
    mark("b");
    Weight weight = weighed();
    EXPECT_EQ(weight.bytes, 1023u);
    EXPECT_EQ(weight.nothing_count, 0u);
    EXPECT_EQ(asked_, 0) << "the revision is asked for names that are gone only";
}

TEST_F(WeighTest, ANameThatCameAndWentIsNothing) {
    mark("temporary");
    mark("deleted");
    in_revision_->insert("deleted");
    Weight weight = weighed();
    ASSERT_EQ(weight.nothing.size(), 1u);
    EXPECT_EQ(weight.nothing[0].name, "temporary");
    EXPECT_EQ(weight.nothing_count, 1u);
    EXPECT_EQ(asked_, 1);
}

TEST_F(WeighTest, NothingIsSaidToBeNothingWhileTheRevisionIsNotKnown) {
    mark("temporary");
    in_revision_.reset();
    Weight weight = weighed();
    EXPECT_EQ(weight.nothing_count, 0u);
    EXPECT_EQ(weight.unknown, 1u);
}

TEST_F(WeighTest, NothingIsSaidToBeNothingWhereDirectoriesWereRenamed) {
    mark("gone");  // the revision may have it under the directory's former name
    absorb({Kind::moved, directory_, "P", "P", "before", "d"});
    Weight weight = weighed();
    EXPECT_EQ(weight.nothing_count, 0u);
    EXPECT_EQ(asked_, 0);
}

TEST_F(WeighTest, ADirectoryThatIsNewHasNothingInTheRevision) {
    mark("gone");
    absorb({Kind::born, directory_, "", "P", "", "d"});
    Weight weight = weighed();
    EXPECT_EQ(weight.nothing_count, 1u);
    EXPECT_EQ(asked_, 0);
}

TEST_F(WeighTest, NamesInANewDirectoryThatIsGoneAreNothing) {
    queue_.mark_name("v", "gone", "a", true, false, Timestamp{});
    queue_.mark_name("v", "gone", "b", true, false, Timestamp{});
    absorb({Kind::born, "gone", "", directory_, "", "e"});
    in_revision_.reset();
    EXPECT_EQ(weighed().nothing_count, 2u);
}

TEST_F(WeighTest, ADirectoryThatIsAnotherOneByNowIsNotBelieved) {
    mark("gone");
    std::filesystem::rename(place("d"), place("moved away"));
    std::filesystem::create_directory(place("d"));
    EXPECT_EQ(weighed().nothing_count, 0u);
}

TEST_F(WeighTest, ManyAreReckonedFromSome) {
    for (int i = 0; i < 1000; ++i) {
        write(std::to_string(i), 10);
        mark(std::to_string(i));
    }
    Weight weight = weighed(100);
    EXPECT_EQ(weight.bytes, 10'000u);
    EXPECT_EQ(sample_of(queue_, 100).names.size(), 100u);
}

TEST_F(WeighTest, OfAListingTheFilesAreCounted) {
    for (int i = 0; i < 400; ++i) write(std::to_string(i), 10);
    queue_.mark_listing("v", directory_, Timestamp{});
    EXPECT_EQ(weighed().bytes, 4000u);
}

TEST_F(WeighTest, AnObjectThatTheRevisionDoesNotHaveIsNoBusinessOfTheSet) {
    WatchBatch batch;
    batch.objects = {"stranger", "known", "gone"};
    queue_.absorb("v", batch, Timestamp{});
    resolver_.facts_of = [](const VolumeId&,
                            const ObjectHandle& handle) -> std::optional<Watcher::ObjectFacts> {
        if (handle == "gone") return std::nullopt;
        return Watcher::ObjectFacts{1, handle == "known" ? 7U : 8U, 2, false};
    };
    const auto objects = sample_of(queue_).objects;
    ASSERT_EQ(objects.size(), 3U);
    std::vector<std::uint64_t> asked;
    const auto strangers = strangers_among(objects, resolver_, [&](const auto& inodes) {
        asked = inodes;
        return std::optional(std::unordered_set<std::uint64_t>{7});
    });
    EXPECT_EQ(std::set<std::uint64_t>(asked.begin(), asked.end()), (std::set<std::uint64_t>{7, 8}));
    ASSERT_TRUE(strangers.has_value());
    std::set<ObjectHandle> handles;
    for (const auto& stranger : *strangers) handles.insert(stranger.handle);
    EXPECT_EQ(handles, (std::set<ObjectHandle>{"stranger", "gone"}));
    for (const auto& stranger : *strangers)
        queue_.drop_object(stranger.volume, stranger.handle, stranger.generation);
    EXPECT_EQ(queue_.size(), 1U) << "a name of the set is written through another one";
}

TEST_F(WeighTest, NoObjectIsAStrangerWhileTheRevisionIsNotKnown) {
    WatchBatch batch;
    batch.objects = {"stranger"};
    queue_.absorb("v", batch, Timestamp{});
    resolver_.facts_of = [](const VolumeId&, const ObjectHandle&) {
        return std::optional(Watcher::ObjectFacts{1, 8, 2, false});
    };
    EXPECT_FALSE(strangers_among(sample_of(queue_).objects, resolver_, [](const auto&) {
                     return std::optional<std::unordered_set<std::uint64_t>>();
                 }).has_value());
}

// 2,000 names of which each second one was looked at, and by chance was of nothing: one may be
// left.
TEST(WaitingCountTest, NothingIsOnlySaidOfWhatWasLookedAt) {
    EXPECT_EQ(count_waiting({.named = 2000, .nothing = 2000, .is_reckoned = true}), 1u);
    EXPECT_EQ(count_waiting({.named = 2000, .nothing = 2000}), 0u);
    EXPECT_EQ(count_waiting({.named = 2000, .nothing = 500, .is_reckoned = true}), 1500u);
    EXPECT_EQ(count_waiting({.is_reckoned = true}), 0u) << "the queue is empty";
}

TEST(WaitingCountTest, WhatIsKnownByItsHandleAloneIsNeverTakenForAName) {
    EXPECT_EQ(count_waiting({.named = 2, .objects = 5}), 2u);
    EXPECT_EQ(count_waiting({.objects = 5}), 1u);
    EXPECT_EQ(count_waiting({.named = 3, .objects = 1, .nothing = 3}), 1u);
}

}  // namespace backup
