#include "daemon/jobs/set_limits.h"

#include <gtest/gtest.h>

#include "daemon/jobs/hooks.h"

namespace backup {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

const Timestamp kNow{Duration(1'800'000'000s)};

JobRecord run_of(std::vector<std::pair<std::string, std::uint64_t>> counts,
                 Timestamp begin = kNow) {
    JobRecord record;
    record.outcome = "exceptions";
    record.parent = "p";
    record.begin = begin;
    record.end = begin + 1s;
    record.counts = std::move(counts);
    return record;
}

BackupSet limited_set() {
    BackupSet set;
    set.id = "home";
    set.limits.hard = {.items = 100, .bytes = 1000, .churn = 500, .revisions = 5};
    set.limits.soft = {.items = 50, .revisions = 4};
    return set;
}

TEST(SetLimits, WhatARunLeftOutIsRememberedUntilOneLeavesNothingOut) {
    const BackupSet set = limited_set();
    LimitReport report;
    report.hit = {"items"};
    report.left_out_items = 7;
    report.left_out_bytes = 70;
    auto counts = limit_counts(set, report);
    counts.insert(counts.end(), {{"files", 90}, {"dirs-new", 10}, {"bytes", 900}});
    SetRecord record;
    note_limits(record, run_of(counts));
    EXPECT_EQ(record.limits_hit, "items");
    EXPECT_EQ(record.items, 100u);
    EXPECT_EQ(record.bytes, 900u);
    const auto over = limits_over(set, record, 1, kNow);
    ASSERT_EQ(over.size(), 2u);
    EXPECT_TRUE(over[0].is_hard);
    EXPECT_NE(over[0].text.find("7 items with 70 bytes"), std::string::npos) << over[0].text;
    EXPECT_NE(over[0].remedy.find("--limit items=N"), std::string::npos) << over[0].remedy;
    EXPECT_FALSE(over[1].is_hard);
    EXPECT_EQ(over[1].name, "items");
    // One that did not come to its end says nothing.
    JobRecord cut = run_of({});
    cut.outcome = "interrupted";
    note_limits(record, cut);
    EXPECT_EQ(record.limits_hit, "items");
    note_limits(record, run_of(limit_counts(set, {})));
    EXPECT_EQ(record.limits_hit, "");
    EXPECT_TRUE(limits_over(set, record, 1, kNow).empty());
}

TEST(SetLimits, WhatIsNotProtectedCountsOnceWhateverTheReason) {
    LimitReport report;
    EXPECT_EQ(unprotected_items(report, 0), 0u);
    EXPECT_EQ(unprotected_items(report, 2), 2u);  // two that could not be read
    report.left_out_items = 5000;
    report.kept_old = 3;
    report.listed = 1000;
    EXPECT_EQ(unprotected_items(report, 1002), 5005u);
    // Limits may list more than they counted (what came into being meanwhile).
    report = {};
    report.listed = 4;
    EXPECT_EQ(unprotected_items(report, 4), 4u);

    SetRecord record;
    JobRecord run = run_of({{"unprotected", 12}});
    run.id = 7;
    note_limits(record, run);
    EXPECT_EQ(record.unprotected, 12u);
    EXPECT_EQ(record.unprotected_job, 7u);
    note_limits(record, run_of({}));
    EXPECT_EQ(record.unprotected, 0u);
    EXPECT_EQ(record.unprotected_job, 0u);
}

TEST(SetLimits, WithoutLimitsNothingIsCounted) {
    EXPECT_TRUE(limit_counts(BackupSet{}, {}).empty());
    EXPECT_FALSE(limit_error(BackupSet{}, {}));
    EXPECT_FALSE(revisions_error(BackupSet{}, 1'000'000));
}

TEST(SetLimits, TheChurnOfADayIsForgottenWhenTheDayIsOver) {
    SetRecord record;
    note_limits(record, run_of({{"churn-bytes", 300}}));
    EXPECT_EQ(churn_of_day(record, kNow), 300u);
    note_limits(record, run_of({{"churn-bytes", 100}, {"limit-churn", 500}}, kNow + 10h));
    EXPECT_EQ(churn_of_day(record, kNow + 23h), 400u);
    EXPECT_EQ(churn_renewal(record), kNow + 24h);
    EXPECT_EQ(churn_of_day(record, kNow + 24h), 0u);
    EXPECT_EQ(churn_of_day(record, kNow - 1h), 0u) << "a clock that was set back";
    note_limits(record, run_of({{"churn-bytes", 50}}, kNow + 30h));
    EXPECT_EQ(churn_of_day(record, kNow + 31h), 50u);
    EXPECT_FALSE(churn_renewal(record));
    // A first revision is no change.
    SetRecord fresh;
    JobRecord first = run_of({{"churn-bytes", 900}});
    first.parent.clear();
    note_limits(fresh, first);
    EXPECT_EQ(churn_of_day(fresh, kNow), 0u);
}

TEST(SetLimits, WithAsManyRevisionsAsAllowedNoMoreIsMade) {
    const BackupSet set = limited_set();
    EXPECT_FALSE(revisions_error(set, 4));
    const auto error = revisions_error(set, 5);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::quota_exceeded);
    SetRecord record;
    JobRecord failed = run_of({});
    failed.outcome = "failed";
    failed.error_name = "QuotaExceeded";
    note_limits(record, failed);
    EXPECT_EQ(limits_over(set, record, 5, kNow)[0].name, "revisions");
    // Some went to the trash meanwhile.
    EXPECT_TRUE(limits_over(set, record, 3, kNow).empty());
    ASSERT_EQ(limits_over(set, {}, 5, kNow).size(), 1u);
    EXPECT_FALSE(limits_over(set, {}, 5, kNow)[0].is_hard);
}

TEST(HookOutput, NamesWhatStandsForPathsOfTheSet) {
    BackupSet set;
    set.paths = {*Path::parse("/home"), *Path::parse("/srv/a=b")};
    const auto named = named_replacements(
        "made a snapshot\nreplace /home=/run/snap/home\nreplace /srv/a=b=/mnt/dump\nreplaced\n",
        set);
    ASSERT_TRUE(named.ok()) << named.error().message();
    EXPECT_EQ(*named,
              (std::vector<Replacement>{{*Path::parse("/home"), *Path::parse("/run/snap/home")},
                                        {*Path::parse("/srv/a=b"), *Path::parse("/mnt/dump")}}));
    EXPECT_TRUE(named_replacements("", set)->empty());
    for (const char* bad : {"replace /home", "replace /homes=/x", "replace /home/a=/x",
                            "replace /home=x", "replace /home=/a\nreplace /home=/b"})
        EXPECT_FALSE(named_replacements(bad, set).ok()) << bad;
}

}  // namespace
}  // namespace backup
