#include "daemon/jobs/waiting_book.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(WaitingBook, TextAndBack) {
    Waiting waiting;
    AskedWait asked{{from_usec(1'800'000'000'000'000), true, 1000}, {}};
    asked.ignored.add(Condition::window);
    asked.ignored.add(Condition::metered);
    waiting.asked["home"] = asked;
    waiting.asked["etc"] = {{from_usec(5), false, 0}, {}};
    waiting.since[{"home", Condition::battery}] = from_usec(7);
    const std::string text = format_waiting(waiting);
    const Waiting again = parse_waiting(text);
    EXPECT_EQ(format_waiting(again), text);
    ASSERT_EQ(again.asked.size(), 2u);
    EXPECT_TRUE(again.asked.at("home").run.is_full);
    EXPECT_EQ(again.asked.at("home").run.uid, 1000u);
    EXPECT_TRUE(again.asked.at("home").ignored.has(Condition::metered));
    EXPECT_FALSE(again.asked.at("home").ignored.has(Condition::battery));
    EXPECT_TRUE(again.asked.at("etc").ignored.empty());
    EXPECT_EQ(again.since.size(), 1u);
}

TEST(WaitingBook, WhatCannotBeUnderstoodIsPassedOver) {
    const Waiting found = parse_waiting(
        "asked home\nasked home x full 0 -\nsince home nothing 5\nsince home window\n\n"
        "since home window 9\nrubbish\n");
    EXPECT_TRUE(found.asked.empty());
    EXPECT_EQ(found.since.size(), 1u);
}

}  // namespace
}  // namespace backup
