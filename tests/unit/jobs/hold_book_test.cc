#include "daemon/jobs/hold_book.h"

#include <gtest/gtest.h>

#include "tests/support/temp_directory.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

constexpr Timestamp kNow{std::chrono::seconds(1'800'000'000)};

TEST(HoldBook, APauseEndsByItselfOrByAPerson) {
    HoldBook book;
    EXPECT_TRUE(book.reasons(kNow).empty());
    book.pause({kNow, kNow + 1h});
    ASSERT_EQ(book.reasons(kNow).size(), 1u);
    EXPECT_EQ(book.reasons(kNow)[0].condition, Condition::paused);
    EXPECT_EQ(book.reasons(kNow)[0].until, kNow + 1h);
    EXPECT_TRUE(book.reasons(kNow + 1h).empty());
    book.pause({kNow, std::nullopt});
    EXPECT_FALSE(book.reasons(kNow + 10'000h).empty());
    book.resume();
    EXPECT_TRUE(book.reasons(kNow).empty());
}

TEST(HoldBook, ProgramsHoldUntilTheyLetGoOrForTwelveHours) {
    HoldBook book;
    const auto number = book.inhibit("film", "playing", 1000, kNow);
    ASSERT_TRUE(number.ok());
    ASSERT_EQ(book.reasons(kNow).size(), 1u);
    EXPECT_EQ(book.reasons(kNow)[0].text, "film asked for quiet: playing");
    book.release(*number);
    EXPECT_TRUE(book.reasons(kNow).empty());
    ASSERT_TRUE(book.inhibit("film", "", 1000, kNow).ok());
    book.drop_old(kNow + 11h);
    EXPECT_FALSE(book.reasons(kNow).empty());
    book.drop_old(kNow + 12h);
    EXPECT_TRUE(book.reasons(kNow).empty());
}

TEST(HoldBook, NoUserHoldsMoreThanEightTimes) {
    HoldBook book;
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(book.inhibit("x", "", 1, kNow).ok());
    const auto ninth = book.inhibit("x", "", 1, kNow);
    ASSERT_FALSE(ninth.ok());
    EXPECT_EQ(ninth.error().code(), ErrorCode::limits_exceeded);
    EXPECT_TRUE(book.inhibit("x", "", 2, kNow).ok());
}

TEST(HoldBook, APauseIsReadBackFromItsFile) {
    TempDirectory folder;
    const std::string file = folder.path() + "/pause";
    EXPECT_FALSE(read_pause(file));
    ASSERT_TRUE(write_pause(file, Pause{kNow, kNow + 1h}).ok());
    EXPECT_EQ(read_pause(file)->until, kNow + 1h);
    EXPECT_EQ(read_pause(file)->since, kNow);
    ASSERT_TRUE(write_pause(file, Pause{kNow, std::nullopt}).ok());
    EXPECT_FALSE(read_pause(file)->until);
    ASSERT_TRUE(write_pause(file, std::nullopt).ok());
    EXPECT_FALSE(read_pause(file));
}

}  // namespace
}  // namespace backup
