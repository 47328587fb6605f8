#include "ctl/render.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <time.h>

namespace backup {
namespace {

TEST(Sizes, ForPeopleAndExact) {
    Looks looks;
    EXPECT_EQ(size_text(0, looks), "0 B");
    EXPECT_EQ(size_text(1023, looks), "1023 B");
    EXPECT_EQ(size_text(1024, looks), "1.0 KiB");
    EXPECT_EQ(size_text(1536, looks), "1.5 KiB");
    EXPECT_EQ(size_text((1u << 20) - 1, looks), "1.0 MiB");
    EXPECT_EQ(size_text(std::uint64_t{150} << 30, looks), "150 GiB");
    EXPECT_EQ(size_text(UINT64_MAX, looks), "16.0 EiB");
    looks.bytes = true;
    EXPECT_EQ(size_text(1536, looks), "1536");
}

TEST(Counts, HaveSeparatorsAndGrammar) {
    EXPECT_EQ(count_text(999), "999");
    EXPECT_EQ(count_text(1000), "1,000");
    EXPECT_EQ(count_text(12345678), "12,345,678");
    EXPECT_EQ(count_text(1, "file", "files"), "1 file");
    EXPECT_EQ(count_text(0, "file", "files"), "0 files");
}

TEST(DurationText, NamesTwoUnitsAtMost) {
    EXPECT_EQ(duration_text(0.042), "42 ms");
    EXPECT_EQ(duration_text(4.24), "4.2 s");
    EXPECT_EQ(duration_text(59.4), "59 s");
    EXPECT_EQ(duration_text(59.6), "1 min");
    EXPECT_EQ(duration_text(192), "3 min 12 s");
    EXPECT_EQ(duration_text(7500), "2 h 5 min");
    EXPECT_EQ(duration_text(86400), "1 day");
    EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3 days 4 h");
}

TEST(AgeText, LooksBackAndAhead) {
    Timestamp now{std::chrono::seconds(1'000'000)};
    using namespace std::chrono_literals;
    EXPECT_EQ(age_text(now - 2s, now), "just now");
    EXPECT_EQ(age_text(now - 50s, now), "50 s ago");
    EXPECT_EQ(age_text(now - 3h, now), "3 h ago");
    EXPECT_EQ(age_text(now - 48h, now), "2 days ago");
    EXPECT_EQ(age_text(now + 20min, now), "in 20 min");
    EXPECT_EQ(age_text(now + 119min + 59s, now), "in 2 h");
    EXPECT_EQ(age_text(now + 59min + 50s, now), "in 1 h");
    EXPECT_EQ(age_text(now + 23h + 50min, now), "in 1 day");
    EXPECT_EQ(age_text(now + 45h, now), "in 2 days");
    EXPECT_EQ(age_text(now - 119min, now), "1 h ago");
}

TEST(TimeText, IsLocalUnlessUtcIsAsked) {
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    Looks looks;
    std::uint64_t usec = to_usec(parse_rfc3339("2026-11-20T08:30:12.7Z").value());
    EXPECT_EQ(time_text(usec, looks), "2026-11-20 09:30:12");
    Timestamp same_day = parse_rfc3339("2026-11-20T20:00:00Z").value();
    EXPECT_EQ(short_time_text(usec, same_day, looks), "09:30");
    looks.utc = true;
    EXPECT_EQ(time_text(usec, looks), "2026-11-20 08:30:12 UTC");
    EXPECT_EQ(time_text(0, looks), "never");
    unsetenv("TZ");
    tzset();
}

TEST(Widths, CountColumnsRatherThanBytes) {
    EXPECT_EQ(display_width("abc"), 3);
    EXPECT_EQ(display_width("ümlaut"), 6);
    EXPECT_EQ(display_width("日本"), 4);
    EXPECT_EQ(display_width("e\xcc\x81"), 1);  // combining accent
}

TEST(Shortening, KeepsBothEndsWithinTheWidth) {
    EXPECT_EQ(shorten_middle("/home/ada/letters/2026/november/draft.odt", 21, true),
              "/home/ad…er/draft.odt");
    EXPECT_EQ(shorten_middle("short", 21, true), "short");
    for (int width = 1; width < 45; ++width) {
        for (bool unicode : {true, false}) {
            EXPECT_LE(display_width(shorten_middle("/home/日本語/ümlaut/日本語/november/日本.odt",
                                                   width, unicode)),
                      width);
            EXPECT_LE(
                display_width(shorten_end("/home/日本語/ümlaut/日本語/november", width, unicode)),
                width);
        }
    }
}

Table sample() {
    using Fit = Column::Fit;
    Table table({{"JOB", Column::Align::right},
                 {"PATH", Column::Align::left, Fit::shrink_middle},
                 {"NOTE"}});
    table.add({"7", "/home/ada/letters/2026/november/draft-of-a-long-name.odt", ""});
    table.add({"12", "/etc", ""});
    return table;
}

TEST(TableText, FitsTheTerminalAndLeavesOutEmptyColumns) {
    Looks looks;
    looks.width = 40;
    auto lines = sample().lines(looks);
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0], "JOB  PATH");
    EXPECT_EQ(lines[2], " 12  /etc");
    EXPECT_EQ(display_width(lines[1]), 40);
    EXPECT_TRUE(lines[1].ends_with("a-long-name.odt"));
}

TEST(TableText, WithoutATerminalNothingIsCutAndTheLegendCanBeLeftOut) {
    Looks looks;
    looks.width = 0;
    looks.legend = false;
    auto lines = sample().lines(looks);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0], " 7  /home/ada/letters/2026/november/draft-of-a-long-name.odt");
}

TEST(TableText, LeavesOutWhatMayBeMissedWhenShrinkingIsNotEnough) {
    Table table({{"A"},
                 {"B", Column::Align::left, Column::Fit::drop},
                 {"C", Column::Align::left, Column::Fit::shrink_end}});
    table.add({"aaaaaaaaaa", "bbbbbbbbbb", "cccccccccccccccccccccccc"});
    Looks looks;
    looks.legend = false;
    looks.width = 44;
    EXPECT_EQ(table.lines(looks)[0], "aaaaaaaaaa  bbbbbbbbbb  ccccccccccccccccccc…");
    looks.width = 43;
    EXPECT_EQ(table.lines(looks)[0], "aaaaaaaaaa  ccccccccccccccccccc…");
    looks.width = 25;
    EXPECT_EQ(table.lines(looks)[0], "aaaaaaaaaa  cccccccccccc…");
}

TEST(WrappedWords, FitAndAreIndented) {
    EXPECT_EQ(wrap_words("one two three four", 9, 2), "one two\n  three\n  four");
    EXPECT_EQ(wrap_words("one two three", 0, 2), "one two three");
    EXPECT_EQ(wrap_words("", 10, 2), "");
}

TEST(TableText, ColorsAreOnlyThereWhenWanted) {
    Table table({{"A"}});
    table.add({"x"}, Tone::bad);
    Looks looks;
    looks.legend = false;
    EXPECT_EQ(table.lines(looks)[0], "x");
    looks.color = true;
    EXPECT_EQ(table.lines(looks)[0], "\033[31mx\033[0m");
}

ProgressFacts facts() {
    ProgressFacts f;
    f.name = "home";
    f.fraction = 0.456;
    f.bytes_done = std::uint64_t{1200} << 20;
    f.bytes_total = std::uint64_t{2600} << 20;
    f.items_done = 12345;
    f.rate = 85 << 20;
    f.seconds_left = std::pair{230.0, 350.0};
    f.errors = 2;
    return f;
}

TEST(ProgressText, SaysAllWhereThereIsRoom) {
    Looks looks;
    looks.width = 140;
    EXPECT_EQ(progress_line(facts(), looks, true),
              "home  █████████░░░░░░░░░░░   45 %  1.2 GiB of 2.5 GiB  12,345 items  85.0 MiB/s  "
              "3-6 min left  2 exceptions");
    looks.unicode = false;
    EXPECT_EQ(progress_line(facts(), looks, true).substr(0, 34),
              "home  [#########-----------]   45 ");
}

TEST(ProgressText, AlwaysLeavesTheLastColumnFree) {
    for (int width = 10; width < 160; ++width) {
        Looks looks;
        looks.width = width;
        std::string line = progress_line(facts(), looks, true);
        EXPECT_LT(display_width(line), width);
        if (width > 20) {
            EXPECT_NE(line.find("45 %"), std::string::npos) << width;
        }
    }
}

TEST(ProgressText, WithoutATotalNamesThePhase) {
    Looks looks;
    looks.width = 0;
    ProgressFacts f;
    f.name = "home";
    f.phase = "scanning";
    f.items_done = 1;
    EXPECT_EQ(progress_line(f, looks, false), "home  scanning  1 item");
}

TEST(LeftText, IsARangeInOneUnit) {
    EXPECT_EQ(left_text(0.2, 1), "1 s left");
    EXPECT_EQ(left_text(20, 40), "20-40 s left");
    EXPECT_EQ(left_text(230, 350), "3-6 min left");
    EXPECT_EQ(left_text(7200, 14400), "2-4 h left");
}

TEST(Eta, RangeHoldsTheTruthWhenTheRateIsSteadyAndWidensWhenItIsNot) {
    EtaEstimator steady;
    for (int i = 0; i <= 40; ++i) steady.sample(i, static_cast<std::uint64_t>(i) * 1000, 100'000);
    auto left = steady.left();
    ASSERT_TRUE(left);
    EXPECT_LE(left->first, 60);
    EXPECT_GE(left->second, 60);
    EXPECT_LT(left->second / left->first, 1.5);

    EtaEstimator wild;
    std::uint64_t done = 0;
    for (int i = 0; i <= 40; ++i) wild.sample(i, done += i % 20 < 10 ? 3000 : 100, 200'000);
    auto wide = wild.left();
    ASSERT_TRUE(wide);
    EXPECT_GT(wide->second / wide->first, 1.5);
}

TEST(Eta, SaysNothingBeforeItKnows) {
    EtaEstimator eta;
    EXPECT_FALSE(eta.left());
    eta.sample(0, 0, 1000);
    eta.sample(1, 10, 1000);
    EXPECT_FALSE(eta.left());
    EtaEstimator done;
    for (int i = 0; i < 10; ++i) done.sample(i, 1000, 1000);
    EXPECT_FALSE(done.left());
}

}  // namespace
}  // namespace backup
