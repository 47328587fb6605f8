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

TEST(GuardedRun, ARejectionLeavesOlderRevisionsOfAnAdoptedLineWhereTheyAre) {
    SetOnHost set = kHome;
    set.adopted = {{"before", "home"}};
    std::vector<RevisionEntry> entries;
    // Under its former name the machine had made more of them.
    for (std::uint8_t number : {10, 11, 12}) {
        entries.push_back(entry(number, false));
        entries.back().snapshot.hostname = "before";
        entries.back().snapshot.time = kNow - std::chrono::hours(100 - number);
    }
    entries.push_back(entry(2, false));
    entries.push_back(entry(13, false));
    entries.push_back(entry(14, false));
    const auto all = all_revisions(entries);
    GuardQuestion question;
    question.clean = entry(2, false).id.hex();
    const auto clean = clean_revision(all, set, question);
    ASSERT_TRUE(clean);
    EXPECT_EQ(made_since(all, set, *clean),
              (std::vector<RevisionId>{entry(14, false).id, entry(13, false).id}));
}

}  // namespace
}  // namespace backup
