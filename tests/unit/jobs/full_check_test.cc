#include "daemon/jobs/full_check.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "daemon/jobs/reconcile.h"

namespace backup {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr Timestamp kNow{seconds(1'800'000'000)};

BackupSet set_of(const std::string& id) {
    BackupSet set;
    set.id = id;
    return set;
}

TEST(Reconcile, IsDueWithinItsPeriodAndEarlierByAFixedShare) {
    BackupSet set = set_of("home");
    SetRecord record;
    EXPECT_FALSE(next_reconcile(set, record, "m", {}, kNow));
    record.last_full = kNow;
    std::set<Timestamp> times;
    for (int machine = 0; machine < 200; ++machine) {
        auto due = next_reconcile(set, record, std::to_string(machine), {}, kNow);
        ASSERT_TRUE(due);
        EXPECT_GE(*due, kNow + hours(27 * 24));
        EXPECT_LE(*due, kNow + hours(30 * 24));
        EXPECT_EQ(due, next_reconcile(set, record, std::to_string(machine), {}, kNow));
        times.insert(*due);
    }
    EXPECT_GT(times.size(), 190u);
    EXPECT_GT(*times.rbegin() - *times.begin(), hours(2 * 24));
}

TEST(Reconcile, OnlySetsThatRunByThemselvesDoIt) {
    SetRecord record;
    record.last_full = kNow - hours(24 * 365);
    BackupSet set = set_of("home");
    EXPECT_LE(*next_reconcile(set, record, "m", {}, kNow), kNow);
    set.automatic = false;
    EXPECT_FALSE(next_reconcile(set, record, "m", {}, kNow));
    set.interval_seconds = 3600;
    EXPECT_TRUE(next_reconcile(set, record, "m", {}, kNow));
    set.reconcile_seconds = 0;
    EXPECT_FALSE(next_reconcile(set, record, "m", {}, kNow));
    set.reconcile_seconds = 60;
    set.enabled = false;
    EXPECT_FALSE(next_reconcile(set, record, "m", {}, kNow));
}

TEST(Reconcile, OneThatFailedIsNotBegunAnewAtOnceAndAClockThatWasSetBackIsNoReasonToWait) {
    BackupSet set = set_of("home");
    SetRecord record;
    record.last_full = kNow - hours(24 * 365);
    EXPECT_EQ(*next_reconcile(set, record, "m", kNow, kNow), kNow + hours(6));
    EXPECT_LE(*next_reconcile(set, record, "m", kNow + hours(1), kNow), kNow);
    record.last_full = kNow + hours(24 * 365);
    EXPECT_LE(*next_reconcile(set, record, "m", {}, kNow), kNow + hours(30 * 24));
}

}  // namespace
}  // namespace backup
