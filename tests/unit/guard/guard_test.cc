#include "daemon/guard/guard.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

using Kind = GuardVerdict::Kind;
using std::chrono::hours;

Timestamp at(int hour) {
    return Timestamp(std::chrono::seconds(1'800'000'000)) + hours(hour);
}

GuardedRunFacts run_at(int hour, const std::string& parent = "aa", std::uint64_t number = 7) {
    return {static_cast<std::uint64_t>(100 + hour), at(hour), parent, number};
}

ChangeSigns signs(std::uint64_t before, std::uint64_t now) {
    ChangeSigns signs;
    signs.files_before = before;
    signs.files_now = now;
    return signs;
}

ChangeSigns gone(std::uint64_t before, std::uint64_t removed) {
    ChangeSigns all = signs(before, before - removed);
    all.removed = removed;
    return all;
}

ChangeSigns turned(std::uint64_t before, std::uint64_t count, std::uint64_t could) {
    ChangeSigns all = signs(before, before);
    all.rewritten = all.could_turn = could;
    all.turned = count;
    return all;
}

struct Row {
    const char* what;
    ChangeSigns signs;
    Kind kind;
};

TEST(Guard, JudgesByCountsAlone) {
    std::vector<Row> rows = {
        {"nothing changed", signs(1000, 1000), Kind::fine},
        {"a first backup", signs(0, 5000), Kind::fine},
        {"half of it is gone", gone(1000, 500), Kind::mass_change},
        {"more than half of it is gone", gone(1000, 501), Kind::emptied},
        {"all of it is gone", gone(1000, 1000), Kind::emptied},
        {"a small set loses most", gone(10, 6), Kind::emptied},
        {"a very small set loses all", gone(9, 9), Kind::fine},
        {"excluded, not removed", signs(1000, 100), Kind::fine},
        {"some were removed", gone(1000, 300), Kind::fine},
        {"many were removed", gone(1000, 301), Kind::mass_change},
        {"few of a small set were removed", gone(100, 49), Kind::fine},
        {"a few files were encrypted", turned(1000, 49, 49), Kind::fine},
        {"files were encrypted", turned(100'000, 50, 60), Kind::mass_change},
        {"encrypted among many others", turned(100'000, 60, 2000), Kind::fine},
    };
    ChangeSigns all = signs(100, 100);
    all.rewritten = 50;
    rows.push_back({"half of it was rewritten", all, Kind::fine});
    all.rewritten = 51;
    rows.push_back({"more than half of it was rewritten", all, Kind::mass_change});
    all = signs(1000, 1000);
    all.moved = 900;
    rows.push_back({"a directory was moved", all, Kind::fine});
    all = signs(1000, 1000);
    all.renamed = 301;
    rows.push_back({"every third has another name", all, Kind::mass_change});
    all = signs(1000, 1000);
    all.removed = all.files_new = all.new_opaque = 60;
    rows.push_back({"replaced by encrypted ones of other names", all, Kind::mass_change});
    all.removed = 10;
    rows.push_back({"new archives beside what is there", all, Kind::fine});
    all = signs(1000, 1900);
    all.files_new = all.new_opaque = 900;
    rows.push_back({"photos of some format come in", all, Kind::fine});
    all = signs(1000, 1000);
    all.removed = all.files_new = 290;
    rows.push_back({"a directory made anew", all, Kind::fine});
    for (const Row& row : rows)
        EXPECT_EQ(judge(row.signs, GuardRules{}).kind, row.kind) << row.what;
}

TEST(Guard, RulesCanBeSwitchedOffAndMoved) {
    GuardRules off;
    off.gone = off.removed = off.changed = off.opaque = 0;
    EXPECT_EQ(judge(gone(1000, 1000), off).kind, Kind::fine);
    EXPECT_EQ(judge(turned(100, 100, 100), off).kind, Kind::fine);
    GuardRules strict;
    strict.gone = 5;
    EXPECT_EQ(judge(gone(1000, 51), strict).kind, Kind::emptied);
    GuardRules few;
    few.least = 5;
    EXPECT_EQ(judge(turned(100, 5, 5), few).kind, Kind::mass_change);
}

TEST(Guard, AnEmptiedSourceIsHeldAndAskedAboutOnce) {
    GuardRecord record;
    auto first = review(record, gone(1000, 900), {}, run_at(0));
    EXPECT_TRUE(first.is_held);
    EXPECT_TRUE(first.is_asked);
    EXPECT_EQ(first.after.source.kind, kGuardEmptied);
    EXPECT_EQ(first.after.source.clean_number, 7u);
    EXPECT_TRUE(first.after.is_open());
    auto second = review(first.after, gone(1000, 901), {}, run_at(1));
    EXPECT_TRUE(second.is_held);
    EXPECT_FALSE(second.is_asked);
    EXPECT_EQ(second.after.source.since, at(0));
}

TEST(Guard, TheQuestionGoesWhenTheSourceIsBack) {
    auto held = review({}, gone(1000, 900), {}, run_at(0));
    auto back = review(held.after, signs(1000, 1000), {}, run_at(1));
    EXPECT_FALSE(back.is_held);
    EXPECT_EQ(committed(back.after, false, at(99)), GuardRecord{});
}

TEST(Guard, AnApprovalIsForWhatWasAskedAbout) {
    auto held = review({}, gone(1000, 600), {}, run_at(0));
    GuardRecord approved = approve(held.after, at(1));
    EXPECT_FALSE(approved.is_open());
    EXPECT_FALSE(review(approved, gone(1000, 620), {}, run_at(2)).is_held);
    auto more = review(approved, gone(1000, 900), {}, run_at(2));
    EXPECT_TRUE(more.is_held);
    EXPECT_TRUE(more.is_asked);
    EXPECT_TRUE(more.after.is_open());
    // One run: the next loss is asked about again.
    auto done = review(approved, gone(1000, 600), {}, run_at(2));
    EXPECT_EQ(committed(done.after, false, at(99)), GuardRecord{});
}

TEST(Guard, ARejectedSourceStaysHeldUntilItIsBack) {
    auto held = review({}, gone(1000, 600), {}, run_at(0));
    GuardRecord rejected = reject(held.after, at(1));
    EXPECT_TRUE(rejected.is_open());
    EXPECT_EQ(why_held(rejected), "");
    auto again = review(rejected, gone(1000, 600), {}, run_at(2));
    EXPECT_TRUE(again.is_held);
    EXPECT_FALSE(again.is_asked);
    EXPECT_EQ(committed(review(rejected, signs(1000, 999), {}, run_at(3)).after, false, at(99)),
              GuardRecord{});
}

TEST(Guard, AMissingPartIsAskedAboutAndMayBeKeptAsItWas) {
    auto held = miss({}, {"/x is missing", 1, true}, run_at(0));
    EXPECT_TRUE(held.is_held);
    EXPECT_TRUE(held.after.source.holds);
    auto kept = miss({}, {"the file system at /x is missing", 1, false}, run_at(0));
    EXPECT_FALSE(kept.is_held);
    EXPECT_TRUE(kept.is_asked);
    // Runs go on with it missing: the question stays.
    EXPECT_TRUE(committed(kept.after, true, at(99)).is_open());
    EXPECT_EQ(committed(kept.after, false, at(99)), GuardRecord{});
    auto approved = miss(approve(held.after, at(1)), {"/x is missing", 1, true}, run_at(1));
    EXPECT_FALSE(approved.is_held);
    // Approved once: that most files are gone with it is no other question.
    EXPECT_FALSE(review(approved.after, gone(1000, 990), {}, run_at(1)).is_held);
    EXPECT_FALSE(review(approved.after, gone(1000, 400), {}, run_at(1)).is_asked);
}

TEST(Guard, AnApprovalOfAMissingPlaceIsForOneRun) {
    auto held = miss({}, {"/x is missing", 1, true}, run_at(0));
    GuardRecord approved = approve(held.after, at(1));
    auto run = miss(approved, {"/x is missing", 1, true}, run_at(1));
    ASSERT_FALSE(run.is_held);
    GuardRecord done = committed(run.after, true, at(1));
    EXPECT_EQ(done, GuardRecord{});
    EXPECT_TRUE(miss(done, {"/y is missing", 1, true}, run_at(2)).is_held);
    EXPECT_TRUE(review(done, gone(1000, 990), {}, run_at(2)).is_held);
    // A run that was under way when it was approved kept that part: the next one is without it.
    EXPECT_EQ(committed(run.after, true, at(0)), approved);
}

TEST(Guard, MoreMissingPlacesThanWereApprovedAreAskedAboutAnew) {
    auto held = miss({}, {"/x is missing", 1, true}, run_at(0));
    GuardRecord approved = approve(held.after, at(1));
    auto more = miss(approved, {"/x is missing, /y is missing", 2, true}, run_at(2));
    EXPECT_TRUE(more.is_held);
    EXPECT_TRUE(more.is_asked);
    EXPECT_FALSE(
        miss(approve(more.after, at(3)), {"/x is missing, /y is missing", 2, true}, run_at(3))
            .is_held);
}

TEST(Guard, WhatIsLeftOfAnApprovedSourceIsJudgedAllTheSame) {
    GuardRecord approved = approve(review({}, gone(1000, 900), {}, run_at(0)).after, at(1));
    ChangeSigns all = gone(1000, 900);
    all.rewritten = all.could_turn = all.turned = 90;
    auto step = review(approved, all, {}, run_at(1));
    EXPECT_FALSE(step.is_held);
    EXPECT_TRUE(step.is_asked);
    EXPECT_EQ(step.after.change.kind, kGuardMassChange);
}

TEST(Guard, ARunThatWasUnderWayWhenItsChangesWereRejectedIsHeld) {
    auto changed = review({}, turned(1000, 60, 60), {}, run_at(0));
    GuardRecord rejected = reject(changed.after, at(1));
    auto step = review(rejected, turned(1000, 5, 5), {}, run_at(0));
    EXPECT_TRUE(step.is_held);
    EXPECT_FALSE(step.is_asked);
    EXPECT_NE(step.message, "");
    EXPECT_EQ(step.after, rejected);
}

TEST(Guard, AMassChangeIsMadeAndTheRevisionBeforeItIsClean) {
    auto changed = review({}, turned(1000, 60, 60), {}, run_at(0, "clean", 7));
    EXPECT_FALSE(changed.is_held);
    EXPECT_TRUE(changed.is_asked);
    EXPECT_EQ(changed.after.change.clean, "clean");
    // Later runs ask nothing new and leave the clean one where it is.
    GuardRecord stored = committed(changed.after, false, at(99));
    auto later = review(stored, turned(1000, 400, 400), {}, run_at(1, "bad", 8));
    EXPECT_FALSE(later.is_asked);
    EXPECT_EQ(later.after.change.clean, "clean");
}

TEST(Guard, SlowEncryptionIsAddedUpForADay) {
    GuardRecord record;
    for (int hour = 0; hour < 2; ++hour) {
        auto step = review(record, turned(10'000, 20, 21), {},
                           run_at(hour, "r" + std::to_string(hour), 10 + hour));
        EXPECT_FALSE(step.is_asked) << hour;
        record = committed(step.after, false, at(99));
    }
    auto third = review(record, turned(10'000, 20, 21), {}, run_at(2, "r2", 12));
    EXPECT_TRUE(third.is_asked);
    EXPECT_EQ(third.after.change.clean, "r0");
    EXPECT_EQ(third.after.change.clean_number, 10u);
    // Two days later the count begins anew.
    auto late = review(record, turned(10'000, 20, 21), {}, run_at(48, "r9", 19));
    EXPECT_FALSE(late.is_asked);
    EXPECT_EQ(late.after.window_clean, "r9");
}

TEST(Guard, OrdinaryRunsLeaveNothingToRemember) {
    EXPECT_EQ(review({}, turned(1000, 0, 30), {}, run_at(0)).after, GuardRecord{});
}

TEST(Guard, ApprovingAMassChangeEndsIt) {
    auto changed = review({}, turned(1000, 60, 60), {}, run_at(0));
    EXPECT_EQ(approve(changed.after, at(1)), GuardRecord{});
}

TEST(Guard, ARejectedMassChangeHoldsUntilItIsApprovedAndOneRunRestoresInPeace) {
    auto changed = review({}, turned(1000, 60, 60), {}, run_at(0));
    GuardRecord rejected = reject(changed.after, at(1));
    EXPECT_NE(why_held(rejected), "");
    EXPECT_TRUE(rejected.is_open());
    GuardRecord restored = approve(rejected, at(2));
    EXPECT_EQ(why_held(restored), "");
    EXPECT_FALSE(restored.is_open());
    ChangeSigns all = signs(1000, 1000);
    all.rewritten = 900;
    auto step = review(restored, all, {}, run_at(3));
    EXPECT_FALSE(step.is_asked);
    EXPECT_EQ(committed(step.after, false, at(99)), GuardRecord{});
}

TEST(Guard, AnAnswerIsGivenToWhatIsOpenAlone) {
    EXPECT_EQ(approve({}, at(0)), GuardRecord{});
    EXPECT_EQ(reject({}, at(0)), GuardRecord{});
}

}  // namespace
}  // namespace backup
