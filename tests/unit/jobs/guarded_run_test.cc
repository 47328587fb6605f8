#include "daemon/jobs/guarded_run.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

const SetOnHost kHome{"home", "here"};
const Timestamp kNow{std::chrono::seconds(1'800'000'000)};

RevisionEntry entry(std::uint8_t number, bool is_trashed, const std::string& set = "home") {
    RevisionEntry made;
    made.id.bytes[0] = number;
    made.snapshot.time = kNow + std::chrono::hours(number);
    made.snapshot.hostname = "here";
    RevisionTags tags{.set = set, .number = number};
    if (is_trashed) tags.trashed = kNow;
    if (!set.empty()) made.snapshot.tags = make_tags(tags);
    return made;
}

TEST(GuardedRun, WhatIsInTheTrashIsNeverTheCleanRevision) {
    const auto all = all_revisions({entry(1, false), entry(2, false), entry(3, true)});
    const Revision& newest = all.front();
    ASSERT_TRUE(newest.is_trashed());
    EXPECT_EQ(clean_before(all, kHome, newest)->tags.number, 2u);
    EXPECT_EQ(clean_before(all, kHome, all[2])->tags.number, 1u) << "else the parent is";
    EXPECT_FALSE(clean_before({newest}, kHome, newest));
}

TEST(GuardedRun, ASnapshotOfAnotherProgramThatIsContinuedIsTheCleanOne) {
    const auto all = all_revisions({entry(1, true), entry(2, false, "")});
    EXPECT_EQ(clean_before(all, kHome, all.front())->id(), all.front().id());
}

TEST(GuardedRun, FindsTheCleanRevisionAlsoWhereItWasForgottenSince) {
    const auto all = all_revisions({entry(1, true), entry(2, false), entry(3, false, "other")});
    GuardQuestion question;
    question.clean = entry(1, true).id.hex();
    auto clean = clean_revision(all, kHome, question);
    ASSERT_TRUE(clean);
    EXPECT_TRUE(clean->is_trashed());
    question.clean = entry(3, false).id.hex();
    EXPECT_FALSE(clean_revision(all, kHome, question)) << "of another set";
    question.clean.clear();
    EXPECT_FALSE(clean_revision(all, kHome, question));
}

}  // namespace
}  // namespace backup
