#include "daemon/policy/units.h"

#include <random>

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(Units, SizesAreReadInTheirUsualForms) {
    EXPECT_EQ(parse_size("0").value(), 0u);
    EXPECT_EQ(parse_size("123").value(), 123u);
    EXPECT_EQ(parse_size("16MiB").value(), 16u << 20);
    EXPECT_EQ(parse_size(" 16 MiB ").value(), 16u << 20);
    EXPECT_EQ(parse_size("1.5G").value(), 1610612736u);
    EXPECT_EQ(parse_size("1.5GB").value(), 1500000000u);
    EXPECT_EQ(parse_size("2kB").value(), 2000u);
    EXPECT_EQ(parse_size("18446744073709551615").value(), ~std::uint64_t{0});
    for (const char* bad : {"", "x", "-1", "1.", ".5", "1..5", "16mib", "16 M i B", "16MiBx", "1e6",
                            "99999999999999999999", "16777216TiB", "1 2"}) {
        EXPECT_FALSE(parse_size(bad).ok()) << bad;
    }
}

TEST(Units, IntervalsAreReadInTheirUsualForms) {
    EXPECT_EQ(parse_interval("off").value(), 0u);
    EXPECT_EQ(parse_interval("0").value(), 0u);
    EXPECT_EQ(parse_interval("90s").value(), 90u);
    EXPECT_EQ(parse_interval("30min").value(), 1800u);
    EXPECT_EQ(parse_interval("1h").value(), 3600u);
    EXPECT_EQ(parse_interval("1h 30min").value(), 5400u);
    EXPECT_EQ(parse_interval("1h30m").value(), 5400u);
    EXPECT_EQ(parse_interval("1.5h").value(), 5400u);
    EXPECT_EQ(parse_interval("2d").value(), 172800u);
    EXPECT_EQ(parse_interval("1w").value(), 604800u);
    for (const char* bad : {"", "h", "60", "1 hour", "1h 30", "-1h", "1month", "9999999999w"}) {
        EXPECT_FALSE(parse_interval(bad).ok()) << bad;
    }
}

TEST(Units, ShortIntervalsHaveMilliseconds) {
    EXPECT_EQ(parse_short_interval("500ms").value(), 500u);
    EXPECT_EQ(parse_short_interval("2s").value(), 2000u);
    EXPECT_EQ(parse_short_interval("1.5s").value(), 1500u);
    EXPECT_EQ(parse_short_interval("1min 30s").value(), 90'000u);
    EXPECT_EQ(parse_short_interval("0").value(), 0u);
    EXPECT_EQ(parse_short_interval("off").value(), 0u);
    EXPECT_EQ(format_short_interval(0), "0");
    EXPECT_EQ(format_short_interval(1500), "1s 500ms");
    for (const char* bad : {"", "ms", "2", "2 seconds", "-1ms", "9999999999w"}) {
        EXPECT_FALSE(parse_short_interval(bad).ok()) << bad;
    }
    std::mt19937_64 random(2);
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t milliseconds = random() % 0xffffffff;
        EXPECT_EQ(parse_short_interval(format_short_interval(milliseconds)).value(), milliseconds);
    }
}

TEST(Units, FormattedValuesComeBack) {
    EXPECT_EQ(format_size(16u << 20), "16MiB");
    EXPECT_EQ(format_size(1000), "1000");
    EXPECT_EQ(format_interval(3600), "1h");
    EXPECT_EQ(format_interval(5430), "1h 30min 30s");
    std::mt19937_64 random(1);
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t size = (random() >> random() % 64) << random() % 20;
        EXPECT_EQ(parse_size(format_size(size)).value(), size);
        const std::uint64_t seconds = random() % 0xffffffff;
        EXPECT_EQ(parse_interval(format_interval(seconds)).value(), seconds);
    }
}

TEST(RuleWords, AreDividedBySpacesAndCommas) {
    std::string seen;
    auto note = [&](const RuleWord& word) -> Result<> {
        seen += std::string(word.name) + "|" + std::string(word.value) + ";";
        return {};
    };
    auto bad = [](std::string_view word) {
        return Error(ErrorKind::invalid, "bad: " + std::string(word));
    };
    EXPECT_TRUE(each_rule_word(" a=1, b==2,,c= ", note, bad).ok());
    EXPECT_EQ(seen, "a|1;b|=2;c|;");
    auto done = each_rule_word("a=1 b c=3", note, bad);
    ASSERT_FALSE(done.ok());
    EXPECT_EQ(done.error().message(), "bad: b");
    EXPECT_EQ(seen, "a|1;b|=2;c|;a|1;");
    EXPECT_TRUE(each_rule_word("", note, bad).ok());
}

TEST(Counts, AreNumbersAndNothingElse) {
    EXPECT_EQ(parse_count("0", 9), 0u);
    EXPECT_EQ(parse_count("9", 9), 9u);
    for (const char* text : {"", "10", "-1", "1x", " 1", "1.5", "99999999999"})
        EXPECT_FALSE(parse_count(text, 9)) << text;
}

}  // namespace
}  // namespace backup
