#include "daemon/jobs/probe_times.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;

const MonotonicTime kStart{1h};

TEST(ProbeTimes, PausesGrowToAMinute) {
    ProbeTimes probes;
    EXPECT_TRUE(probes.is_due("disk", kStart));
    MonotonicTime now = kStart;
    for (Duration pause : {Duration(2s), Duration(4s), Duration(8s), Duration(16s), Duration(32s),
                           Duration(60s), Duration(60s)}) {
        probes.failed("disk", "gone", now);
        EXPECT_FALSE(probes.is_due("disk", now + pause - 1ms));
        EXPECT_TRUE(probes.is_due("disk", now + pause));
        EXPECT_EQ(probes.next("disk"), now + pause);
        EXPECT_TRUE(probes.is_due("other", now));
        now += pause;
    }
    probes.succeeded("disk");
    EXPECT_TRUE(probes.is_due("disk", now));
    EXPECT_EQ(probes.next("disk"), MonotonicTime::max());
    probes.failed("disk", "gone", now);
    EXPECT_TRUE(probes.is_due("disk", now + 2s));
}

TEST(ProbeTimes, ATryUnderWayIsNotBegunAgain) {
    ProbeTimes probes;
    probes.begin("disk", kStart);
    EXPECT_FALSE(probes.is_due("disk", kStart + 1s));
    EXPECT_TRUE(probes.is_due("disk", kStart + 2s));
    EXPECT_TRUE(probes.failed("disk", "gone", kStart + 1s));
    EXPECT_FALSE(probes.is_due("disk", kStart + 2s));
    EXPECT_TRUE(probes.is_due("disk", kStart + 3s));
}

TEST(ProbeTimes, TheSameFailureIsToldOnceUntilItWasReached) {
    ProbeTimes probes;
    EXPECT_TRUE(probes.failed("disk", "gone", kStart));
    for (int i = 0; i < 100; ++i) EXPECT_FALSE(probes.failed("disk", "gone", kStart));
    EXPECT_TRUE(probes.failed("other", "gone", kStart));
    EXPECT_TRUE(probes.failed("disk", "read error", kStart));
    probes.succeeded("disk");
    EXPECT_TRUE(probes.failed("disk", "read error", kStart));
}

}  // namespace
}  // namespace backup
