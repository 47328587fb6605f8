#include "daemon/runtime/allowance.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

using std::chrono::seconds;

TEST(Allowance, WhatIsTakenGrowsBackAndIsNeverMoreThanAtFirst) {
    MonotonicTime now{};
    Allowance allowance(seconds(10), 2, now);
    EXPECT_FALSE(allowance.take(seconds(11), now));
    EXPECT_TRUE(allowance.take(seconds(10), now));
    EXPECT_FALSE(allowance.take(seconds(1), now));
    now += seconds(2);
    EXPECT_TRUE(allowance.take(seconds(1), now));
    EXPECT_FALSE(allowance.take(seconds(1), now));
    now += seconds(1000);
    EXPECT_FALSE(allowance.take(seconds(11), now));
    EXPECT_TRUE(allowance.take(seconds(10), now));
}

TEST(Allowance, WhoeverTakesAllThatThereIsLeavesTheOtherHalf) {
    MonotonicTime now{};
    Allowance allowance(seconds(10), 2, now);
    int taken = 0;
    for (int second = 0; second < 1000; ++second, now += seconds(1))
        if (allowance.take(seconds(1), now)) ++taken;
    EXPECT_LE(taken, 511);
    EXPECT_GE(taken, 500);
}

}  // namespace
}  // namespace backup
