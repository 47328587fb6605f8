#include "daemon/policy/window.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

Window window(std::string_view text) {
    Result<Window> parsed = parse_window(text);
    EXPECT_TRUE(parsed.ok()) << text << ": " << (parsed.ok() ? "" : parsed.error().message());
    return parsed.ok() ? *parsed : Window{};
}

TEST(Window, SaysWhatItsTextSays) {
    Window nights = window("Mon..Fri 22:00-06:00");
    EXPECT_EQ(nights.weekdays.to_string(), "0011111");
    EXPECT_EQ(nights.begin, 22 * 3600);
    EXPECT_EQ(nights.end, 6 * 3600);
    EXPECT_TRUE(nights.is_over_midnight());

    Window noon = window("  saturday,SUN   12:00-13:30:15 at 2MiB/s ");
    EXPECT_EQ(noon.weekdays.to_string(), "1100000");
    EXPECT_EQ(noon.end, 13 * 3600 + 30 * 60 + 15);
    EXPECT_FALSE(noon.is_over_midnight());
    EXPECT_EQ(noon.bytes_per_second, 2u << 20);

    Window first_monday = window("Mon 2026..2030-*-1..7,15 02:00-05:00");
    EXPECT_EQ(first_monday.years, (std::vector<Window::Range>{{2026, 2030}}));
    EXPECT_TRUE(first_monday.months.empty());
    EXPECT_EQ(first_monday.days, (std::vector<Window::Range>{{1, 7}, {15, 15}}));

    EXPECT_EQ(window("02-29").months, (std::vector<Window::Range>{{2, 2}}));
    EXPECT_EQ(window("Fri..Mon").weekdays.to_string(), "1110001");
    EXPECT_EQ(window("daily"), Window{});
    EXPECT_EQ(window("00:00-24:00"), Window{});
    EXPECT_EQ(window("24:00-06:00").begin, 0) << "the end of a day is no time to begin";
    EXPECT_TRUE(window("08:00-08:00").is_over_midnight()) << "a whole day from there";
}

TEST(Window, IsReadBackFromItsShortestText) {
    for (const auto& [text, shortest] : std::vector<std::pair<std::string, std::string>>{
             {"Monday..Friday 22:00-06:00", "Mon..Fri 22:00-06:00"},
             {"Mon,Tue,Wed 1:00-2:00", "Mon..Wed 01:00-02:00"},
             {"Sun,Sat", "Sat,Sun"},
             {"Fri..Mon 10:00-11:00", "Mon,Fri..Sun 10:00-11:00"},
             {"Mon..Sun *-*-* 00:00-24:00", "daily"},
             {"daily 12:00-13:00:30 at 1024K/s", "12:00-13:00:30 at 1MiB/s"},
             {"*-02-29", "2-29"},
             {"2026-*-1,15", "2026-*-1,15"}}) {
        Window parsed = window(text);
        EXPECT_EQ(format_window(parsed), shortest) << text;
        EXPECT_EQ(window(shortest), parsed) << text;
    }
}

TEST(Window, ARateWithoutItsWordSaysWhichWord) {
    const auto window = parse_window("Sat,Sun 2MiB/s");
    ASSERT_FALSE(window.ok());
    EXPECT_NE(window.error().message().find("at 2MiB/s"), std::string::npos)
        << window.error().message();
}

TEST(Window, WrongTextIsRefusedWithThePartThatIsWrong) {
    for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
             {"", "''"},
             {"   ", "'   '"},
             {"Mob..Fri 22:00-06:00", "'Mob..Fri'"},
             {"Mon.. 22:00-06:00", "'Mon..'"},
             {"Mon,,Tue", "''"},
             {"Mon,", "''"},
             {"22:00", "'22:00'"},
             {"22:00-", "'22:00-'"},
             {"22-06", "'22'"},
             {"25:00-26:00", "'25:00'"},
             {"24:01-06:00", "'24:01'"},
             {"22:60-23:00", "'22:60'"},
             {"22:0-23:00", "'22:0'"},
             {"22:00:00:00-23:00", "'22:00:00:00'"},
             {"-1:00-23:00", "''"},
             {"*-13-01 10:00-11:00", "'13'"},
             {"*-0-01", "'0'"},
             {"*-*-32", "'32'"},
             {"*-*-7..1", "'7..1'"},
             {"*-*-*-*", "'*-*-*-*'"},
             {"*-*-", "'*-*-'"},
             {"1969-01-01", "'1969'"},
             {"10:00-11:00 Mon", "'Mon'"},
             {"10:00-11:00 at", "'at'"},
             {"10:00-11:00 at fast", "'fast'"},
             {"10:00-11:00 at off", "'off'"},
             {"at 2MiB/s", "'at 2MiB/s'"},
             {"Mon 10:00-11:00 12:00-13:00", "'12:00-13:00'"}}) {
        Result<Window> parsed = parse_window(text);
        ASSERT_FALSE(parsed.ok()) << text << " became " << format_window(*parsed);
        EXPECT_EQ(parsed.error().kind(), ErrorKind::invalid);
        EXPECT_EQ(parsed.error().message().find(part + " is no "), 0u)
            << text << ": " << parsed.error().message();
    }
}

TEST(Window, RatesAreSizesPerSecond) {
    EXPECT_EQ(*parse_rate("2MiB/s"), 2u << 20);
    EXPECT_EQ(*parse_rate("500 kB"), 500'000u);
    EXPECT_EQ(*parse_rate("off"), 0u);
    EXPECT_FALSE(parse_rate("fast").ok());
    EXPECT_FALSE(parse_rate("2MiB/h").ok());
}

}  // namespace
}  // namespace backup
