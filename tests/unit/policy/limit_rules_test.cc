#include "daemon/policy/limit_rules.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

LoadedPolicy set_of(const std::string& text) {
    LoadedPolicy loaded;
    parse_set_config("repository = \"nas\"\npaths = [\"/home/a\"]\n" + text,
                     "/etc/backupd/sets.d/home.toml", "home", loaded);
    return loaded;
}
std::string problems(const LoadedPolicy& loaded) {
    std::string all;
    for (const auto& problem : loaded.problems) all += problem.text() + "\n";
    return all;
}

TEST(LimitRules, TextAndBack) {
    for (const char* text :
         {"none", "items=200000", "items=9 bytes=50GiB file-size=4GiB churn=1GiB revisions=7",
          "bytes=2GiB soft-bytes=1536MiB", "soft-items=1 soft-revisions=5"}) {
        auto limits = parse_limits(text);
        ASSERT_TRUE(limits.ok()) << text << limits.error().message();
        EXPECT_EQ(format_limits(*limits), text);
    }
    EXPECT_EQ(*parse_limits(""), Limits{});
    EXPECT_EQ(*parse_limits("items=none"), Limits{});
}

TEST(LimitRules, BadWordsAreNamed) {
    for (const char* text : {"items", "items=1k", "items=-1", "bytes=lots", "size=5", "soft=5",
                             "soft-size=5", "items=9223372036854775808"}) {
        auto limits = parse_limits(text);
        ASSERT_FALSE(limits.ok()) << text;
        EXPECT_NE(limits.error().message().find(text), std::string::npos);
    }
    auto never = parse_limits("items=5 soft-items=6");
    ASSERT_FALSE(never.ok());
    EXPECT_NE(never.error().message().find("above the hard one"), std::string::npos);
}

TEST(LimitRules, TablesOfAFileAreReadAndComeBack) {
    const auto loaded = set_of(
        "[limits.soft]\nitems = 1000\nbytes = \"1GiB\"\nfile-size = \"1MiB\"\nchurn = \"2GiB\"\n"
        "revisions = 100\n[limits.hard]\nitems = 2000\nbytes = \"2GiB\"\nfile-size = 4194304\n"
        "churn = \"4GiB\"\nrevisions = 200\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    const BackupSet& set = loaded.policy.sets.at("home");
    EXPECT_EQ(set.limits.soft,
              (LimitValues{1000, std::uint64_t{1} << 30, 1 << 20, std::uint64_t{2} << 30, 100}));
    EXPECT_EQ(set.limits.hard,
              (LimitValues{2000, std::uint64_t{2} << 30, 4 << 20, std::uint64_t{4} << 30, 200}));
    LoadedPolicy again;
    parse_set_config(format_set_config(set), "f", "home", again);
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    EXPECT_EQ(again.policy.sets.at("home").limits, set.limits);
    // And as a part of the whole.
    LoadedPolicy whole;
    parse_main_config(format_policy(loaded.policy) + "\n[repository.nas]\nurl = \"/srv\"\n", "f",
                      whole);
    ASSERT_TRUE(whole.problems.empty()) << problems(whole);
    EXPECT_EQ(whole.policy.sets.at("home").limits, set.limits);
    EXPECT_EQ(set_of("").policy.sets.at("home").limits, Limits{});
}

struct Wrong {
    const char* text;
    unsigned line;
    const char* words;
};

TEST(LimitRules, WhatIsWrongIsNamedWithItsLine) {
    for (const Wrong& wrong : {
             Wrong{"[limits]\nhard = 5\n", 4, "hard"},
             Wrong{"[limits]\nitems = 5\n", 4, "items"},
             Wrong{"[limits.hard]\nitem = 5\n", 4, "did you mean \"items\""},
             Wrong{"[limits.hard]\nitems = \"many\"\n", 4, "items"},
             Wrong{"[limits.hard]\nitems = -1\n", 4, "items"},
             Wrong{"[limits.soft]\nbytes = \"lots\"\n", 4, "bytes"},
             Wrong{"[limits.soft]\nfile-size = true\n", 4, "file-size"},
             Wrong{"[limits.soft]\nchurn = \"1GiB/s\"\n", 4, "churn"},
             Wrong{"[limits.soft]\nrevisions = \"1GiB\"\n", 4, "revisions"},
             Wrong{"[limits.weak]\nitems = 1\n", 3, "weak"},
         }) {
        const auto loaded = set_of(wrong.text);
        ASSERT_EQ(loaded.problems.size(), 1u) << wrong.text << problems(loaded);
        EXPECT_EQ(loaded.problems[0].line, wrong.line) << problems(loaded);
        EXPECT_NE(loaded.problems[0].message.find(wrong.words), std::string::npos)
            << problems(loaded);
    }
    const auto never = set_of("[limits.soft]\nitems = 6\n[limits.hard]\nitems = 5\n");
    ASSERT_EQ(never.problems.size(), 1u) << problems(never);
    EXPECT_NE(never.problems[0].message.find("above the hard one"), std::string::npos);
}

}  // namespace
}  // namespace backup
