#include "daemon/restore/conflict.h"

#include <cstdlib>
#include <ctime>

#include <gtest/gtest.h>

namespace backup {
namespace {

constexpr ConflictMode kAll[] = {ConflictMode::fail, ConflictMode::keep_both, ConflictMode::skip,
                                 ConflictMode::newer, ConflictMode::replace};

TEST(Conflict, NothingThereIsCreatedInEveryMode) {
    for (ConflictMode mode : kAll) EXPECT_EQ(decide(mode, {}), Action::create);
}

TEST(Conflict, AnIdenticalObjectIsNoConflictInAnyMode) {
    const Existing same{
        .is_there = true, .same_type = true, .same_content = true, .same_metadata = true};
    for (ConflictMode mode : kAll) EXPECT_EQ(decide(mode, same), Action::unchanged);
}

TEST(Conflict, EachModeHasItsAnswerToADifferentFile) {
    const Existing other{.is_there = true, .same_type = true};
    EXPECT_EQ(decide(ConflictMode::fail, other), Action::conflict);
    EXPECT_EQ(decide(ConflictMode::keep_both, other), Action::keep_both);
    EXPECT_EQ(decide(ConflictMode::skip, other), Action::skip);
    EXPECT_EQ(decide(ConflictMode::newer, other), Action::replace);
    EXPECT_EQ(decide(ConflictMode::replace, other), Action::replace);
}

TEST(Conflict, NewerLeavesWhatIsAsNewOrNewer) {
    const Existing newer{.is_there = true, .same_type = true, .is_newer = true};
    EXPECT_EQ(decide(ConflictMode::newer, newer), Action::skip);
}

TEST(Conflict, AnotherTypeGivesWayOnlyToReplace) {
    const Existing link{.is_there = true};
    EXPECT_EQ(decide(ConflictMode::newer, link), Action::skip);
    EXPECT_EQ(decide(ConflictMode::replace, link), Action::replace);
}

TEST(Conflict, ADirectoryWithEntriesIsNeverRemoved) {
    const Existing filled{.is_there = true, .is_filled_directory = true};
    EXPECT_EQ(decide(ConflictMode::replace, filled), Action::refuse);
    for (ConflictMode mode : kAll) EXPECT_NE(decide(mode, filled), Action::replace);
}

TEST(Conflict, RightContentUnderAnotherNameTooIsNotAlteredInPlace) {
    Existing content{.is_there = true, .same_type = true, .same_content = true};
    EXPECT_EQ(decide(ConflictMode::replace, content), Action::set_metadata);
    content.is_shared = true;
    EXPECT_EQ(decide(ConflictMode::replace, content), Action::replace);
}

TEST(Conflict, ModesAreReadAsTheyAreWritten) {
    for (ConflictMode mode : kAll) {
        const Result<ConflictMode> read = parse_conflict_mode(to_string(mode));
        ASSERT_TRUE(read.ok());
        EXPECT_EQ(*read, mode);
    }
    EXPECT_FALSE(parse_conflict_mode("overwrite").ok());
    EXPECT_FALSE(parse_conflict_mode("").ok());
}

TEST(Conflict, KeptCopiesAreNamedByTheTimeOfTheRevisionBeforeTheExtension) {
    const std::string suffix = " (backup 2026-11-20 09.30)";
    const auto named = [&](const char* name, unsigned attempt = 1) {
        return keep_both_name(name, suffix, attempt);
    };
    EXPECT_EQ(named("photo.jpg"), "photo (backup 2026-11-20 09.30).jpg");
    EXPECT_EQ(named("photo.jpg", 2), "photo (backup 2026-11-20 09.30 2).jpg");
    EXPECT_EQ(named("README"), "README (backup 2026-11-20 09.30)");
    EXPECT_EQ(named(".bashrc"), ".bashrc (backup 2026-11-20 09.30)");
    EXPECT_EQ(named("src.tar.gz"), "src (backup 2026-11-20 09.30).tar.gz");
    EXPECT_EQ(named("v1. the beginning"), "v1. the beginning (backup 2026-11-20 09.30)");
    EXPECT_EQ(named("dot."), "dot. (backup 2026-11-20 09.30)");
}

TEST(Conflict, ALongNameIsShortenedBetweenCharacters) {
    std::string name;
    while (name.size() < 250) name += "\xc3\xa4";
    const std::string kept = keep_both_name(name + ".txt", " (backup 2026-11-20 09.30)", 1);
    EXPECT_LE(kept.size(), 255u);
    EXPECT_TRUE(kept.ends_with(" (backup 2026-11-20 09.30).txt"));
    const std::size_t stem = kept.size() - std::string(" (backup 2026-11-20 09.30).txt").size();
    EXPECT_EQ(stem % 2, 0u);
}

TEST(Conflict, TheSuffixIsInLocalTime) {
    const char* before = std::getenv("TZ");
    const std::string kept = before != nullptr ? before : "";
    ::setenv("TZ", "UTC-2", 1);
    ::tzset();
    EXPECT_EQ(backup_suffix(Timestamp(std::chrono::seconds(1'795'160'000))),
              " (backup 2026-11-20 09.33)");
    if (before != nullptr)
        ::setenv("TZ", kept.c_str(), 1);
    else
        ::unsetenv("TZ");
    ::tzset();
}

}  // namespace
}  // namespace backup
