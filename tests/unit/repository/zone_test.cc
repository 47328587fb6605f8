#include "daemon/repository/zone.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

std::string written(const std::shared_ptr<const Zone>& zone, std::int64_t seconds,
                    std::uint32_t nanoseconds = 0) {
    return ZoneFormatter(zone).text({seconds, nanoseconds});
}

TEST(Zone, TimesAreWrittenAsInTheVectors) {
    std::map<std::string, std::unique_ptr<ZoneFormatter>> formatters;
    int checked = 0;
    const auto all = vectors::load("tree-vectors.json");
    for (const auto& vector : all["times"]) {
        const std::string name = vector["tz"];
        const FileTime time{vector["sec"], vector["nsec"]};
        // Once with what the formatter remembers of the times before, once without.
        auto& kept = formatters[name];
        if (!kept) kept = std::make_unique<ZoneFormatter>(Zone::from_tz(name));
        EXPECT_EQ(kept->text(time), vector["out"]) << name << " " << time.seconds;
        EXPECT_EQ(ZoneFormatter(Zone::from_tz(name)).text(time), vector["out"])
            << name << " " << time.seconds;
        ++checked;
    }
    EXPECT_GT(checked, 100);
}

TEST(Zone, IsChosenAsGoChoosesIt) {
    const std::int64_t summer = 1688200000;
    EXPECT_EQ(written(Zone::from_tz(""), summer), "2023-07-01T08:26:40Z");
    EXPECT_EQ(written(Zone::from_tz("UTC"), summer), "2023-07-01T08:26:40Z");
    EXPECT_EQ(written(Zone::from_tz("Europe/Berlin"), summer), "2023-07-01T10:26:40+02:00");
    EXPECT_EQ(written(Zone::from_tz(":Europe/Berlin"), summer), "2023-07-01T10:26:40+02:00");
    EXPECT_EQ(written(Zone::from_tz("/usr/share/zoneinfo/Asia/Kathmandu"), summer),
              "2023-07-01T14:11:40+05:45");
    // glibc would understand the first of these.
    for (const char* other :
         {"CET-1CEST", "No/Such", ":", "/no/such/file", "/etc/passwd", "/etc", "/dev/null"}) {
        EXPECT_EQ(written(Zone::from_tz(other), summer), "2023-07-01T08:26:40Z") << other;
    }
}

TEST(Zone, EnvironmentAndChangedLocalTimeAreReadAnew) {
    const char* before = std::getenv("TZ");
    const std::string kept = before ? before : "";
    const auto file =
        std::filesystem::temp_directory_path() / ("zone-test-" + std::to_string(::getpid()));
    ::setenv("TZ", file.c_str(), 1);
    std::filesystem::copy_file("/usr/share/zoneinfo/Asia/Tokyo", file);
    EXPECT_EQ(written(Zone::local(), 0), "1970-01-01T09:00:00+09:00");
    std::filesystem::copy_file("/usr/share/zoneinfo/America/New_York", file,
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_EQ(written(Zone::local(), 0), "1969-12-31T19:00:00-05:00");
    std::filesystem::remove(file);
    EXPECT_EQ(written(Zone::local(), 0), "1970-01-01T00:00:00Z");
    if (before) {
        ::setenv("TZ", kept.c_str(), 1);
    } else {
        ::unsetenv("TZ");
    }
}

TEST(Zone, RulesBehindTheTableRepeat) {
    const auto berlin = Zone::from_tz("Europe/Berlin");
    // The last Sunday of March 2500 is the 28th, of October the 31st; 01:00 UTC.
    EXPECT_EQ(written(berlin, 16732659599), "2500-03-28T01:59:59+01:00");
    EXPECT_EQ(written(berlin, 16732659600), "2500-03-28T03:00:00+02:00");
    EXPECT_EQ(written(berlin, 16751408399), "2500-10-31T02:59:59+02:00");
    EXPECT_EQ(written(berlin, 16751408400), "2500-10-31T02:00:00+01:00");
    // Southern summer spans the turn of the year.
    const auto sydney = Zone::from_tz("Australia/Sydney");
    EXPECT_EQ(written(sydney, 16725225600), "2500-01-01T11:00:00+11:00");
    EXPECT_EQ(written(sydney, 16740864000), "2500-07-01T10:00:00+10:00");
}

TEST(Zone, RememberedPeriodsChangeNothing) {
    // Neighbouring and distant times in random order give what a fresh formatter gives.
    std::mt19937_64 random(11);
    for (const char* name : {"Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca",
                             "America/Nuuk", "Africa/Monrovia", "Asia/Tehran", "Europe/Dublin"}) {
        const auto zone = Zone::from_tz(name);
        ZoneFormatter kept(zone);
        for (int i = 0; i < 4000; ++i) {
            const auto seconds = static_cast<std::int64_t>(random() % 25000000000u) - 6000000000;
            for (std::int64_t at : {seconds, seconds + 3600, zone->at(seconds).end,
                                    zone->at(seconds).end - 1, zone->at(seconds).begin}) {
                const FileTime time{
                    at, static_cast<std::uint32_t>(random() % 3 ? random() % 1000000000 : 0)};
                ASSERT_EQ(kept.text(time), ZoneFormatter(zone).text(time)) << name << " " << at;
            }
            const auto period = zone->at(seconds);
            ASSERT_LE(period.begin, seconds);
            ASSERT_GT(period.end, seconds);
        }
    }
}

TEST(Zone, OffsetsAgreeWithTheCLibrary) {
    const char* before = std::getenv("TZ");
    const std::string kept = before ? before : "";
    std::mt19937_64 random(3);
    for (const char* name :
         {"Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/Nuuk",
          "America/New_York", "Asia/Kathmandu", "Europe/London"}) {
        ::setenv("TZ", name, 1);
        ::tzset();
        const auto zone = Zone::local();
        for (int i = 0; i < 3000; ++i) {
            const auto seconds = static_cast<time_t>(random() % 8000000000u);  // 1970 to 2223
            struct tm parts {};
            ::localtime_r(&seconds, &parts);
            ASSERT_EQ(zone->at(seconds).offset, parts.tm_gmtoff) << name << " " << seconds;
        }
    }
    if (before) {
        ::setenv("TZ", kept.c_str(), 1);
    } else {
        ::unsetenv("TZ");
    }
    ::tzset();
}

TEST(Zone, AnyTimeFitsItsBuffer) {
    for (const char* name : {"UTC", "Africa/Monrovia", "Pacific/Kiritimati", "Pacific/Niue"}) {
        const auto zone = Zone::from_tz(name);
        for (std::int64_t seconds :
             {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(),
              std::int64_t{-1} << 56, std::int64_t{1} << 40, std::int64_t{253402300799},
              std::int64_t{-62167219200}, std::int64_t{-62167219201}}) {
            const std::string text = written(zone, seconds, 999999999);
            EXPECT_TRUE(parse_file_time(text)) << text;
        }
    }
}

TEST(Zone, BrokenFilesAreRefused) {
    std::ifstream file("/usr/share/zoneinfo/Europe/Berlin", std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(file), {}};
    ASSERT_TRUE(Zone::parse(as_bytes(whole)).ok());
    for (std::size_t size = 0; size < whole.size(); ++size) {
        // A file cut off inside its footer is still one: without the rule.
        const auto zone = Zone::parse(as_bytes(whole).first(size));
        if (zone.ok()) (*zone)->at(16725225600);
        EXPECT_FALSE(size < 44 && zone.ok()) << size;
    }
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) {
        std::string damaged = whole;
        for (int n = 0; n < 3; ++n)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        const auto zone = Zone::parse(as_bytes(damaged));
        if (zone.ok()) ZoneFormatter(*zone).text({static_cast<std::int64_t>(random()) << 8, 1});
    }
}

TEST(FileTime, TextIsReadWithAnyOffsetAndFraction) {
    EXPECT_EQ(parse_file_time("1970-01-01T00:00:00Z"), (FileTime{0, 0}));
    EXPECT_EQ(parse_file_time("1970-01-01T01:00:00+01:00"), (FileTime{0, 0}));
    EXPECT_EQ(parse_file_time("1969-12-31T23:15:16-00:44"), (FileTime{-44 + 0, 0}));
    EXPECT_EQ(parse_file_time("2023-11-14T22:13:20.123456789Z"), (FileTime{1700000000, 123456789}));
    EXPECT_EQ(parse_file_time("2023-11-14T22:13:20.5Z"), (FileTime{1700000000, 500000000}));
    EXPECT_EQ(parse_file_time("1969-12-31T23:59:59.999999999Z"), (FileTime{-1, 999999999}));
    EXPECT_EQ(parse_file_time("2024-02-29T00:00:00Z"), (FileTime{1709164800, 0}));
    EXPECT_EQ(parse_file_time("9999-12-31T23:59:59Z"), (FileTime{253402300799, 0}));
    EXPECT_EQ(parse_file_time("0000-01-01T00:00:00Z"), (FileTime{-62167219200, 0}));
    for (const char* text :
         {"", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00z", "1970-13-01T00:00:00Z",
          "1970-02-29T00:00:00Z", "1970-01-00T00:00:00Z", "1970-01-01T24:00:00Z",
          "1970-01-01T00:60:00Z", "1970-01-01T00:00:60Z", "1970-01-01T00:00:00.Z",
          "1970-01-01T00:00:00.1234567890Z", "1970-01-01T00:00:00+1:00",
          "1970-01-01T00:00:00+01:60", "1970-01-01T00:00:00+25:00", "1970-01-01T00:00:00+0100",
          "1970-01-01T00:00:00Z ", "1970-01-01t00:00:00Z", "-970-01-01T00:00:00Z"}) {
        EXPECT_FALSE(parse_file_time(text)) << text;
    }
}

}  // namespace
}  // namespace backup
