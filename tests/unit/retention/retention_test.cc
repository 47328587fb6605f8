#include "daemon/retention/retention.h"

#include <map>

#include <gtest/gtest.h>

#include "daemon/policy/keep_rules.h"

namespace backup {
namespace {

struct At {
    std::uint64_t number;
    std::string time;
    std::uint64_t exceptions = 0;
    bool is_pinned = false;
    std::vector<std::string> tags = {};
};

RetentionItem item(const At& at) {
    RetentionItem made;
    made.id.bytes[0] = static_cast<std::uint8_t>(at.number);
    made.id.bytes[1] = 1;
    made.number = at.number;
    made.time = parse_rfc3339(at.time).value();
    made.time_text = at.time;
    made.exceptions = at.exceptions;
    made.is_pinned = at.is_pinned;
    made.tags = at.tags;
    return made;
}

// "number: rules" of what is kept, in the order given.
using Kept = std::map<std::uint64_t, std::string>;
Kept kept(const std::vector<At>& revisions, const std::string& rules,
          const std::string& now = "2027-01-01T00:00:00Z", const std::string& frozen = "") {
    std::vector<RetentionItem> items;
    for (const At& at : revisions) items.push_back(item(at));
    Kept result;
    for (const RetentionDecision& decision : decide_retention(
             items, parse_keep_rules(rules).value(), parse_rfc3339(now).value(), frozen)) {
        std::string text;
        for (const std::string& rule : decision.rules) text += (text.empty() ? "" : ",") + rule;
        EXPECT_EQ(decision.keep, !text.empty());
        if (decision.keep) result[decision.item.number] = text;
    }
    return result;
}

const std::vector<At> kHours = {
    {1, "2026-11-20T08:10:00Z"}, {2, "2026-11-20T08:50:00Z"}, {3, "2026-11-20T09:10:00Z"},
    {4, "2026-11-21T09:00:00Z"}, {5, "2026-11-23T09:00:00Z"}, {6, "2026-11-23T09:30:00Z"},
};

TEST(Retention, EachRuleKeepsWhatItSays) {
    struct Case {
        std::string rules;
        Kept kept;
    };
    const Case cases[] = {
        {"last=2 minimum=0", {{5, "last"}, {6, "last"}}},
        {"hourly=3 minimum=0", {{3, "hourly"}, {4, "hourly"}, {6, "hourly"}}},
        // Days without a revision do not count.
        {"daily=3 minimum=0", {{3, "daily"}, {4, "daily"}, {6, "daily"}}},
        // 2026-11-23 is a Monday.
        {"weekly=2 minimum=0", {{4, "weekly"}, {6, "weekly"}}},
        {"monthly=5 minimum=0", {{6, "monthly"}}},
        {"yearly=5 minimum=0", {{6, "yearly"}}},
        {"within=1h minimum=0", {{5, "within"}, {6, "within"}}},
        {"last=1 daily=1 minimum=0", {{6, "last,daily"}}},
        {"last=1 minimum=3", {{4, "minimum"}, {5, "minimum"}, {6, "last"}}},
    };
    for (const Case& one : cases) EXPECT_EQ(kept(kHours, one.rules), one.kept) << one.rules;
}

TEST(Retention, WithoutRulesNothingIsForgotten) {
    EXPECT_EQ(kept(kHours, "none").size(), kHours.size());
    EXPECT_EQ(kept(kHours, "minimum=1").size(), kHours.size());
    EXPECT_EQ(kept(kHours, "none").at(1), "no-rules");
}

TEST(Retention, FrozenNothingIsForgotten) {
    Kept all = kept(kHours, "last=1 minimum=0", "2027-01-01T00:00:00Z", "a disk is missing");
    EXPECT_EQ(all.size(), kHours.size());
    EXPECT_EQ(all.at(1), "frozen");
}

TEST(Retention, DaysAreThoseOfTheRevisionsOwnZone) {
    // The same day in Berlin, two days in UTC.
    const std::vector<At> berlin = {{1, "2026-11-20T00:30:00+01:00"},
                                    {2, "2026-11-20T08:00:00+01:00"}};
    EXPECT_EQ(kept(berlin, "daily=9 minimum=0"), (Kept{{2, "daily"}}));
    const std::vector<At> utc = {{1, "2026-11-19T23:30:00Z"}, {2, "2026-11-20T07:00:00Z"}};
    EXPECT_EQ(kept(utc, "daily=9 minimum=0"), (Kept{{1, "daily"}, {2, "daily"}}));
}

TEST(Retention, YearsEndInTheRightWeek) {
    // 2026-12-31 is a Thursday, 2027-01-03 a Sunday: one week in two years.
    const std::vector<At> turn = {{1, "2026-12-31T12:00:00Z"}, {2, "2027-01-03T12:00:00Z"}};
    EXPECT_EQ(kept(turn, "weekly=5 minimum=0", "2027-02-01T00:00:00Z"), (Kept{{2, "weekly"}}));
    EXPECT_EQ(kept(turn, "yearly=5 minimum=0", "2027-02-01T00:00:00Z"),
              (Kept{{1, "yearly"}, {2, "yearly"}}));
}

TEST(Retention, PinsAndTagsKeep) {
    const std::vector<At> some = {{1, "2026-11-20T08:00:00Z", 0, true},
                                  {2, "2026-11-21T08:00:00Z", 0, false, {"release"}},
                                  {3, "2026-11-22T08:00:00Z", 0, false, {"other"}},
                                  {4, "2026-11-23T08:00:00Z"}};
    EXPECT_EQ(kept(some, "last=1 tag=release minimum=0"),
              (Kept{{1, "pin"}, {2, "tag release"}, {4, "last"}}));
}

TEST(Retention, ImpossibleTimesAreKeptAndCountForNothing) {
    const std::vector<At> odd = {{1, "2026-11-20T08:00:00Z"},
                                 {2, "2036-11-20T08:00:00Z"},  // the clock ran ahead
                                 {3, "2026-11-21T08:00:00Z"},
                                 {4, "2016-01-01T08:00:00Z"},  // and behind
                                 {5, "2026-11-22T08:00:00Z"}};
    EXPECT_EQ(kept(odd, "last=1 minimum=0"), (Kept{{2, "time"}, {4, "time"}, {5, "last"}}));
    // With our own clock behind all of them nothing is judged.
    EXPECT_EQ(kept(odd, "last=1 minimum=0", "2015-01-01T00:00:00Z").size(), odd.size());
    // Years ahead, nothing goes that would not have gone: rules count from revisions, not from now.
    EXPECT_EQ(kept(kHours, "within=1h daily=2 minimum=0", "2040-01-01T00:00:00Z"),
              kept(kHours, "within=1h daily=2 minimum=0"));
}

TEST(Retention, WhatCouldNotBeReadSinceIsKept) {
    const std::vector<At> ill = {{1, "2026-11-20T08:00:00Z"},
                                 {2, "2026-11-21T08:00:00Z"},
                                 {3, "2026-11-22T08:00:00Z", 2},
                                 {4, "2026-11-23T08:00:00Z", 1}};
    EXPECT_EQ(kept(ill, "last=1 minimum=0"), (Kept{{2, "last-whole"}, {4, "last"}}));
}

TEST(Retention, TheOrderOfTheInputDoesNotMatter) {
    std::vector<At> backwards(kHours.rbegin(), kHours.rend());
    EXPECT_EQ(kept(backwards, "daily=2 last=1"), kept(kHours, "daily=2 last=1"));
    EXPECT_TRUE(kept({}, "last=1").empty());
}

TEST(Retention, AFloodOfRevisionsDoesNotPushOutThePast) {
    std::vector<At> all = kHours;
    for (std::uint64_t n = 7; n < 207; ++n) {
        const std::string minute = std::to_string(n % 60 + 100).substr(1);
        all.push_back({n, "2026-11-23T" + std::to_string(10 + n / 60) + ":" + minute + ":00Z"});
    }
    Kept left = kept(all, "daily=7 weekly=4");
    EXPECT_TRUE(left.contains(3) && left.contains(4)) << "the days before the flood";
    EXPECT_EQ(left.size(), 3u) << "one of each day";
}

TEST(Retention, TheNewestStaysWhateverTheRulesSay) {
    const auto left = kept(kHours, "tag=nobody-has-it minimum=0");
    EXPECT_EQ(left, (Kept{{6, "minimum"}}));
}

TEST(KeepRules, TextComesBackAsTheSameRules) {
    for (const char* text :
         {"none", "last=3", "hourly=24 daily=7 weekly=4 monthly=12 yearly=10 minimum=1",
          "within=1w3d tag=a tag=b", "minimum=0"}) {
        auto rules = parse_keep_rules(text);
        ASSERT_TRUE(rules.ok()) << text;
        auto again = parse_keep_rules(format_keep_rules(*rules));
        ASSERT_TRUE(again.ok()) << format_keep_rules(*rules);
        EXPECT_EQ(*again, *rules) << text;
    }
    EXPECT_EQ(parse_keep_rules("last=3, daily=2")->daily, 2u);
}

TEST(KeepRules, BadWordsAreNamed) {
    for (const char* text :
         {"last", "last=", "last=x", "last=-1", "last=9999999", "every=3", "within=soon", "tag="}) {
        auto rules = parse_keep_rules(text);
        ASSERT_FALSE(rules.ok()) << text;
        EXPECT_NE(rules.error().message().find(text), std::string::npos);
    }
}

}  // namespace
}  // namespace backup
