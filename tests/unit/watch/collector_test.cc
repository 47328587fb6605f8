#include "daemon/watch/collector.h"

#include <gtest/gtest.h>

namespace backup {

TEST(Collector, ANameIsOneEntryWhateverHappenedToIt) {
    Collector collector(1000);
    collector.name("d", "n", {.content = false});
    collector.name("d", "n", {.content = true});
    collector.name("d", "n", {.content = false});
    const WatchBatch batch = collector.take();
    ASSERT_EQ(batch.names.size(), 1U);
    EXPECT_TRUE(batch.names[0].content);
    EXPECT_FALSE(batch.names[0].closed);
    EXPECT_TRUE(collector.take().empty());
}

TEST(Collector, ClosedMeansThatNothingFollowed) {
    Collector collector(1000);
    collector.name("d", "n", {.content = true, .closed = true});
    collector.name("d", "n", {.content = false});
    EXPECT_TRUE(collector.take().names[0].closed) << "metadata may";
    collector.name("d", "n", {.content = true, .closed = true});
    collector.name("d", "n", {.content = true});
    EXPECT_FALSE(collector.take().names[0].closed);
}

TEST(Collector, TooManyNamesBecomeAListing) {
    Collector collector(2);
    for (const char* name : {"a", "b", "c", "d"}) collector.name("d", name, {});
    collector.name("e", "a", {});
    const WatchBatch batch = collector.take();
    EXPECT_EQ(batch.relist, std::vector<ObjectHandle>{"d"});
    ASSERT_EQ(batch.names.size(), 1U);
    EXPECT_EQ(batch.names[0].directory, "e");
}

TEST(Collector, MovesKeepTheirOrder) {
    Collector collector(1000);
    for (int i = 0; i < 100; ++i) {
        WatchBatch::DirectoryMove move;
        move.to_name = std::to_string(i);
        collector.move(std::move(move));
    }
    const WatchBatch batch = collector.take();
    ASSERT_EQ(batch.moves.size(), 100U);
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(batch.moves[static_cast<std::size_t>(i)].to_name, std::to_string(i));
}

TEST(Collector, TheFirstReasonOfALossStays) {
    Collector collector(1000);
    collector.lose("one");
    collector.lose("two");
    EXPECT_EQ(collector.take().lost, "one");
    EXPECT_EQ(collector.take().lost, "");
}

TEST(Collector, WhatNobodyTakesIsBoundedAndThenLost) {
    Collector collector(1000, 100);
    for (int i = 0; i < 1000; ++i) collector.name("d" + std::to_string(i), "n", {});
    for (int i = 0; i < 1000; ++i) collector.object(std::to_string(i));
    for (int i = 0; i < 1000; ++i) collector.name("d", std::to_string(i), {});
    const WatchBatch batch = collector.take();
    EXPECT_NE(batch.lost, "");
    EXPECT_LE(batch.names.size() + batch.objects.size(), 100U);
    EXPECT_EQ(collector.take().lost, "");
}

TEST(Collector, GoneIsForEver) {
    Collector collector(1000), empty(1000);
    collector.gone();
    collector.swap(empty);
    EXPECT_TRUE(empty.take().gone);
    EXPECT_TRUE(collector.take().gone);
    EXPECT_TRUE(collector.take().gone);
}

TEST(Collector, SwappingForgetsNothing) {
    Collector collector(1000);
    for (int round = 0; round < 3; ++round) {
        collector.name("d", "n", {});
        Collector taken(1000);
        collector.swap(taken);
        EXPECT_EQ(taken.take().names.size(), 1U);
        EXPECT_TRUE(collector.empty());
    }
}

}  // namespace backup
