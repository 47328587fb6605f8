#include "daemon/schedule/run_times.h"

#include <set>

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;
using std::chrono::hours;
using std::chrono::seconds;

constexpr Timestamp kNow{seconds(1'800'000'000)};

BackupSet set_of(const std::string& id) {
    BackupSet set;
    set.id = id;
    return set;
}

TEST(RunTimes, RunsAreDueAnIntervalAfterTheLastBegin) {
    BackupSet set = set_of("home");
    SetPast past{.last_attempt = kNow - 1h};
    EXPECT_FALSE(interval_due(set, past, kNow));
    set.interval_seconds = 7200;
    EXPECT_EQ(interval_due(set, past, kNow), kNow + 1h);
    EXPECT_EQ(interval_due(set, SetPast{}, kNow), kNow);
    // The clock was set back: the begin lies in the future.
    EXPECT_EQ(interval_due(set, past, kNow - 48h), kNow - 48h);
    set.enabled = false;
    EXPECT_FALSE(interval_due(set, SetPast{}, kNow));
}

TEST(RunTimes, AnInterruptedRunIsTakenUpOnlyBySetsThatRunByThemselvesUnlessItWasParked) {
    BackupSet set = set_of("home");
    RunFacts facts;
    facts.resume_at = kNow;
    EXPECT_EQ(next_due(set, facts, "m", kNow)->trigger, "resume");
    set.automatic = false;
    EXPECT_FALSE(next_due(set, facts, "m", kNow));
    facts.was_parked = true;
    EXPECT_TRUE(next_due(set, facts, "m", kNow)->is_continued);
    set.enabled = false;
    EXPECT_FALSE(next_due(set, facts, "m", kNow));
}

TEST(RunTimes, AMissingSourceIsLookedForEachHour) {
    BackupSet set = set_of("home");
    RunFacts facts;
    facts.past.last_attempt = kNow;
    facts.looks_for_source = true;
    EXPECT_EQ(change_due(set, facts, kNow), kNow + 1h);
}

TEST(Reconcile, IsDueWithinItsPeriodAndEarlierByAFixedShare) {
    BackupSet set = set_of("home");
    SetPast past;
    EXPECT_FALSE(reconcile_due(set, past, "m", kNow));
    past.last_full = kNow;
    std::set<Timestamp> times;
    for (int machine = 0; machine < 200; ++machine) {
        auto due = reconcile_due(set, past, std::to_string(machine), kNow);
        ASSERT_TRUE(due);
        EXPECT_GE(*due, kNow + hours(27 * 24));
        EXPECT_LE(*due, kNow + hours(30 * 24));
        EXPECT_EQ(due, reconcile_due(set, past, std::to_string(machine), kNow));
        times.insert(*due);
    }
    EXPECT_GT(times.size(), 190u);
    EXPECT_GT(*times.rbegin() - *times.begin(), hours(2 * 24));
}

TEST(Reconcile, OnlySetsThatRunByThemselvesDoIt) {
    SetPast past{.last_full = kNow - hours(24 * 365)};
    BackupSet set = set_of("home");
    EXPECT_LE(*reconcile_due(set, past, "m", kNow), kNow);
    EXPECT_TRUE(next_due(set, {.past = past}, "m", kNow)->is_full);
    set.automatic = false;
    EXPECT_FALSE(reconcile_due(set, past, "m", kNow));
    set.interval_seconds = 3600;
    EXPECT_TRUE(reconcile_due(set, past, "m", kNow));
    set.reconcile_seconds = 0;
    EXPECT_FALSE(reconcile_due(set, past, "m", kNow));
    set.reconcile_seconds = 60;
    set.enabled = false;
    EXPECT_FALSE(reconcile_due(set, past, "m", kNow));
}

TEST(Reconcile, OneThatFailedIsNotBegunAnewAtOnceAndAClockThatWasSetBackIsNoReasonToWait) {
    BackupSet set = set_of("home");
    SetPast past{.last_full = kNow - hours(24 * 365), .full_tried = kNow};
    EXPECT_EQ(*reconcile_due(set, past, "m", kNow), kNow + hours(6));
    past.full_tried = kNow + hours(1);
    EXPECT_LE(*reconcile_due(set, past, "m", kNow), kNow);
    past = {.last_full = kNow + hours(24 * 365)};
    EXPECT_LE(*reconcile_due(set, past, "m", kNow), kNow + hours(30 * 24));
}

}  // namespace
}  // namespace backup
