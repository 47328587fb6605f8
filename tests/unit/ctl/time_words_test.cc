#include "ctl/time_words.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <time.h>

namespace backup {
namespace {

// Sets the process's zone for one test.
class TimeWords : public testing::Test {
  protected:
    void zone(const char* name) {
        setenv("TZ", name, 1);
        tzset();
    }
    void TearDown() override {
        unsetenv("TZ");
        tzset();
    }
    static Timestamp at(const char* rfc3339) { return parse_rfc3339(rfc3339).value(); }
    static std::string first(const char* words, const char* now) {
        auto span = parse_time_words(words, at(now));
        return span.ok() ? format_rfc3339(span->first) : "error";
    }
    static std::string last(const char* words, const char* now) {
        auto span = parse_time_words(words, at(now));
        return span.ok() ? format_rfc3339(span->last) : "error";
    }
};

constexpr const char* kNow = "2026-11-22T15:30:10.5+01:00";

TEST_F(TimeWords, ABareDateIsTheWholeDay) {
    zone("Europe/Berlin");
    EXPECT_EQ(first("2026-11-20", kNow), "2026-11-20T00:00:00+01:00");
    EXPECT_EQ(last("2026-11-20", kNow), "2026-11-20T23:59:59.999999999+01:00");
}

TEST_F(TimeWords, MinutesAndSecondsLastAsLongAsTheyDo) {
    zone("Europe/Berlin");
    EXPECT_EQ(first("2026-11-20 09:30", kNow), "2026-11-20T09:30:00+01:00");
    EXPECT_EQ(last("2026-11-20 09:30", kNow), "2026-11-20T09:30:59.999999999+01:00");
    EXPECT_EQ(last("2026-11-20 09:30:15", kNow), "2026-11-20T09:30:15.999999999+01:00");
    EXPECT_EQ(last("2026-11-20T09:30", kNow), "2026-11-20T09:30:59.999999999+01:00");
}

TEST_F(TimeWords, Rfc3339KeepsItsOffsetAndItsFraction) {
    zone("Europe/Berlin");
    EXPECT_EQ(last("2026-11-20T09:30:15.25Z", kNow), "2026-11-20T10:30:15.25+01:00");
    EXPECT_EQ(last("2026-11-20T09:30:15Z", kNow), "2026-11-20T10:30:15.999999999+01:00");
}

TEST_F(TimeWords, YesterdayAndTodayFollowTheLocalCalendar) {
    zone("Europe/Berlin");
    // 00:30 in Berlin is still the day before in UTC.
    const char* night = "2026-11-21T23:30:00Z";
    EXPECT_EQ(first("yesterday", night), "2026-11-21T00:00:00+01:00");
    EXPECT_EQ(last("today", night), "2026-11-22T23:59:59.999999999+01:00");
    EXPECT_EQ(last("Yesterday  09:30", kNow), "2026-11-21T09:30:59.999999999+01:00");
    EXPECT_EQ(first("08:15", kNow), "2026-11-22T08:15:00+01:00");
    EXPECT_EQ(first("yesterday", "2026-03-01T12:00:00Z"), "2026-02-28T00:00:00+01:00");
}

TEST_F(TimeWords, AgoCountsBack) {
    zone("Europe/Berlin");
    EXPECT_EQ(last("2 hours ago", kNow), "2026-11-22T13:30:10.5+01:00");
    EXPECT_EQ(last("2h ago", kNow), "2026-11-22T13:30:10.5+01:00");
    EXPECT_EQ(last("an hour ago", kNow), "2026-11-22T14:30:10.5+01:00");
    EXPECT_EQ(last("90 s ago", kNow), "2026-11-22T15:28:40.5+01:00");
    EXPECT_EQ(last("3 weeks ago", kNow), "2026-11-01T15:30:10.5+01:00");
    EXPECT_EQ(last("1 month ago", "2026-03-31T12:00:00+02:00"), "2026-02-28T12:00:00+01:00");
    EXPECT_EQ(last("1 year ago", "2024-02-29T12:00:00+01:00"), "2023-02-28T12:00:00+01:00");
}

TEST_F(TimeWords, DaysKeepTheTimeOfDayOverAClockChangeAndHoursDoNot) {
    zone("Europe/Berlin");  // clocks went back at 03:00 on 2026-10-25
    const char* after = "2026-10-25T12:00:00+01:00";
    EXPECT_EQ(last("1 day ago", after), "2026-10-24T12:00:00+02:00");
    EXPECT_EQ(last("24 hours ago", after), "2026-10-24T13:00:00+02:00");
}

TEST_F(TimeWords, TheDayOfAClockChangeIsWhole) {
    zone("Europe/Berlin");
    EXPECT_EQ(first("2026-10-25", kNow), "2026-10-25T00:00:00+02:00");
    EXPECT_EQ(last("2026-10-25", kNow), "2026-10-25T23:59:59.999999999+01:00");
    EXPECT_EQ(first("2026-03-29", kNow), "2026-03-29T00:00:00+01:00");
    EXPECT_EQ(last("2026-03-29", kNow), "2026-03-29T23:59:59.999999999+02:00");
}

TEST_F(TimeWords, ARepeatedHourCoversBothReadings) {
    zone("Europe/Berlin");
    EXPECT_EQ(first("2026-10-25 02:30", kNow), "2026-10-25T02:30:00+02:00");
    EXPECT_EQ(last("2026-10-25 02:30", kNow), "2026-10-25T02:30:59.999999999+01:00");
    zone("America/New_York");
    EXPECT_EQ(first("2026-11-01 01:15", kNow), "2026-11-01T01:15:00-04:00");
    EXPECT_EQ(last("2026-11-01 01:15", kNow), "2026-11-01T01:15:59.999999999-05:00");
}

TEST_F(TimeWords, ASkippedHourIsStillATime) {
    zone("Europe/Berlin");
    auto span = parse_time_words("2026-03-29 02:30", at(kNow));
    ASSERT_TRUE(span.ok());
    EXPECT_GE(span->first, at("2026-03-29T01:30:00+01:00"));
    EXPECT_LE(span->last, at("2026-03-29T03:30:59.999999999+02:00"));
}

TEST_F(TimeWords, LatestHasNoBound) {
    EXPECT_TRUE(parse_time_words("latest", at(kNow))->latest);
    EXPECT_FALSE(parse_time_words("now", at(kNow))->latest);
}

TEST_F(TimeWords, WhatIsNoTimeIsRefusedWithExamples) {
    for (const char* text : {"", " ", "the day after", "never", "2026-13-01", "2026-02-30",
                             "2026-1-1", "25:00", "12:60", "yesterday noon", "ago", "2 ago",
                             "x hours ago", "-1 hours ago", "2026-11-20 09:30 x", "9999-01-01",
                             "20261120", "99999999 days ago", "9999999 days ago"}) {
        auto span = parse_time_words(text, at(kNow));
        ASSERT_FALSE(span.ok()) << text;
        EXPECT_EQ(span.error().code(), ErrorCode::invalid_arguments) << text;
        EXPECT_NE(span.error().message().find("yesterday"), std::string::npos) << text;
    }
}

TEST(Durations, AreReadWithAndWithoutUnits) {
    EXPECT_EQ(parse_duration("30").value(), 30u);
    EXPECT_EQ(parse_duration("30s").value(), 30u);
    EXPECT_EQ(parse_duration("10min").value(), 600u);
    EXPECT_EQ(parse_duration("2 hours").value(), 7200u);
    EXPECT_EQ(parse_duration("1d").value(), 86400u);
    EXPECT_EQ(parse_duration("1w").value(), 604800u);
    EXPECT_EQ(parse_duration("1h 30min").value(), 5400u);
    EXPECT_EQ(parse_duration("1h30m").value(), 5400u);
    for (const char* text : {"", "h", "1.5h", "-1", "2 fortnights", "1 month", "99999999999"})
        EXPECT_FALSE(parse_duration(text).ok()) << text;
}

}  // namespace
}  // namespace backup
