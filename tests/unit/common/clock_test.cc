#include "common/clock.h"

#include <gtest/gtest.h>

namespace backup {

TEST(Clock, Rfc3339RoundTripsInUtc) {
    for (const char* text : {"2026-11-22T20:54:17Z", "1970-01-01T00:00:00Z",
                             "2020-02-29T23:59:59.123456789Z", "1969-12-31T23:59:59.5Z"}) {
        auto time = parse_rfc3339(text);
        ASSERT_TRUE(time.ok()) << text;
        EXPECT_EQ(format_rfc3339_utc(*time), text);
    }
}

TEST(Clock, OffsetsAreApplied) {
    EXPECT_EQ(format_rfc3339_utc(*parse_rfc3339("2026-01-01T01:30:00+01:30")),
              "2026-01-01T00:00:00Z");
    EXPECT_EQ(format_rfc3339_utc(*parse_rfc3339("2025-12-31T19:00:00-05:00")),
              "2026-01-01T00:00:00Z");
}

TEST(Clock, BrokenTimesAreRefused) {
    for (const char* text :
         {"", "2026-11-22", "2026-11-22T20:54:17", "2026-13-22T20:54:17Z", "2026-11-22T20:54:17.Z",
          "2026-11-22T20:54:17+1:00", "2026-11-22T20:54:17Zx"})
        EXPECT_FALSE(parse_rfc3339(text).ok()) << text;
}

TEST(Clock, TimesBeyondTheRangeAreClampedNotWrapped) {
    EXPECT_GT(parse_rfc3339("2400-01-01T00:00:00Z")->time_since_epoch().count(), 0);
    EXPECT_LT(parse_rfc3339("0001-01-01T00:00:00Z")->time_since_epoch().count(), 0);
}

}  // namespace backup
