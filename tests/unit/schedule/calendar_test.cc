#include "daemon/schedule/calendar.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "daemon/repository/calendar_days.h"

namespace backup {
namespace {

std::shared_ptr<const Zone> zone(const std::string& name) {
    return Zone::from_tz(name);
}

Calendar calendar(const std::vector<std::string>& texts, const std::string& tz) {
    std::vector<Window> windows;
    for (const std::string& text : texts) {
        Result<Window> parsed = parse_window(text);
        EXPECT_TRUE(parsed.ok()) << text;
        if (parsed.ok()) windows.push_back(*parsed);
    }
    return {std::move(windows), zone(tz)};
}

Timestamp at(const std::string& rfc3339) {
    Result<Timestamp> time = parse_rfc3339(rfc3339);
    EXPECT_TRUE(time.ok()) << rfc3339;
    return time.ok() ? *time : Timestamp{};
}

std::string text(std::optional<Timestamp> time) {
    return time ? format_rfc3339_utc(*time) : "never";
}

struct Case {
    const char* zone;
    std::vector<std::string> windows;
    const char* now;
    bool is_open;
    const char* until;  // in UTC
};

TEST(Calendar, TableOfOpenings) {
    const std::vector<Case> cases = {
        // Over midnight, and whose night it is.
        {"UTC", {"Mon..Fri 22:00-06:00"}, "2026-11-20T21:59:59Z", false, "2026-11-20T22:00:00Z"},
        {"UTC", {"Mon..Fri 22:00-06:00"}, "2026-11-20T22:00:00Z", true, "2026-11-21T06:00:00Z"},
        {"UTC", {"Mon..Fri 22:00-06:00"}, "2026-11-21T05:59:59Z", true, "2026-11-21T06:00:00Z"},
        {"UTC", {"Mon..Fri 22:00-06:00"}, "2026-11-21T06:00:00Z", false, "2026-11-23T22:00:00Z"},
        {"UTC", {"Mon..Fri 22:00-06:00"}, "2026-11-23T05:00:00Z", false, "2026-11-23T22:00:00Z"},
        // Windows that touch or overlap are one.
        {"UTC",
         {"10:00-12:00", "12:00-14:00"},
         "2026-11-20T10:30:00Z",
         true,
         "2026-11-20T14:00:00Z"},
        {"UTC",
         {"10:00-13:00", "11:00-14:00"},
         "2026-11-20T10:30:00Z",
         true,
         "2026-11-20T14:00:00Z"},
        {"UTC", {"Sat", "Sun"}, "2026-11-21T00:00:00Z", true, "2026-11-23T00:00:00Z"},
        {"UTC", {"08:00-08:00"}, "2026-11-20T07:59:59Z", true, "never"},
        {"UTC", {}, "2026-11-20T10:30:00Z", true, "never"},
        {"UTC", {"daily"}, "2026-11-20T10:30:00Z", true, "never"},
        // A rate that changes is a change.
        {"UTC",
         {"daily at 1MiB/s", "22:00-06:00"},
         "2026-11-20T10:30:00Z",
         true,
         "2026-11-20T22:00:00Z"},
        {"UTC",
         {"daily at 1MiB/s", "22:00-06:00"},
         "2026-11-20T22:00:00Z",
         true,
         "2026-11-21T06:00:00Z"},
        // Dates: leap days, first Mondays, what never comes, what is over.
        {"UTC", {"*-02-29 01:00-02:00"}, "2026-11-20T00:00:00Z", false, "2028-02-29T01:00:00Z"},
        {"UTC", {"*-02-29 01:00-02:00"}, "2096-03-01T00:00:00Z", false, "2104-02-29T01:00:00Z"},
        {"UTC", {"Mon *-02-29"}, "2076-03-01T00:00:00Z", false, "2112-02-29T00:00:00Z"},
        {"UTC",
         {"Mon *-*-1..7 02:00-05:00"},
         "2026-11-20T00:00:00Z",
         false,
         "2026-12-07T02:00:00Z"},
        {"UTC", {"*-02-30"}, "2026-11-20T00:00:00Z", false, "never"},
        {"UTC", {"2025-*-*"}, "2026-11-20T00:00:00Z", false, "never"},
        {"UTC", {"12-31 23:00-01:00"}, "2027-01-01T00:30:00Z", true, "2027-01-01T01:00:00Z"},
        // Summer time begins in Berlin on 2026-03-29: 02:00 CET is 03:00 CEST (01:00 UTC).
        {"Europe/Berlin", {"22:00-06:00"}, "2026-03-28T21:00:00Z", true, "2026-03-29T04:00:00Z"},
        {"Europe/Berlin", {"02:30-04:00"}, "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"},
        {"Europe/Berlin", {"01:00-02:30"}, "2026-03-29T00:30:00Z", true, "2026-03-29T01:00:00Z"},
        {"Europe/Berlin", {"02:15-02:45"}, "2026-03-29T00:00:00Z", false, "2026-03-30T00:15:00Z"},
        // It ends on 2026-10-25: 03:00 CEST is 02:00 CET (01:00 UTC), 02:30 comes twice.
        {"Europe/Berlin", {"22:00-06:00"}, "2026-10-24T20:00:00Z", true, "2026-10-25T05:00:00Z"},
        {"Europe/Berlin", {"01:30-02:30"}, "2026-10-24T23:30:00Z", true, "2026-10-25T01:30:00Z"},
        {"Europe/Berlin", {"02:30-04:00"}, "2026-10-24T23:00:00Z", false, "2026-10-25T00:30:00Z"},
        {"Europe/Berlin", {"02:15-02:45"}, "2026-10-25T00:50:00Z", true, "2026-10-25T01:45:00Z"},
        // New York, 2026-03-08 and 2026-11-01, at 02:00.
        {"America/New_York", {"22:00-06:00"}, "2026-03-08T03:00:00Z", true, "2026-03-08T10:00:00Z"},
        {"America/New_York",
         {"01:30-02:30"},
         "2026-11-01T05:00:00Z",
         false,
         "2026-11-01T05:30:00Z"},
        {"America/New_York", {"01:30-02:30"}, "2026-11-01T05:30:00Z", true, "2026-11-01T07:30:00Z"},
        // Lord Howe changes by half an hour, at 02:00 on 2026-04-05 (back) and 2026-10-04.
        {"Australia/Lord_Howe",
         {"01:45-03:00"},
         "2026-04-04T14:45:00Z",
         true,
         "2026-04-04T16:30:00Z"},
        {"Australia/Lord_Howe",
         {"02:10-02:20"},
         "2026-10-03T15:00:00Z",
         false,
         "2026-10-04T15:10:00Z"},
        // Samoa had no 30 December 2011: Friday the 30th never opens.
        {"Pacific/Apia", {"*-12-30"}, "2011-12-30T09:00:00Z", false, "2012-12-29T10:00:00Z"},
    };
    for (const Case& each : cases) {
        Calendar::State state = calendar(each.windows, each.zone).at(at(each.now));
        EXPECT_EQ(state.is_open, each.is_open) << each.zone << " " << each.now;
        EXPECT_EQ(text(state.until), each.until)
            << each.zone << " " << each.now << " "
            << (each.windows.empty() ? "" : each.windows.front());
    }
}

TEST(Calendar, TheFastestOfTheOpenWindowsCounts) {
    Calendar all = calendar({"daily at 1MiB/s", "10:00-12:00 at 4MiB/s", "11:00-12:00"}, "UTC");
    EXPECT_EQ(all.at(at("2026-11-20T09:00:00Z")).bytes_per_second, 1u << 20);
    EXPECT_EQ(all.at(at("2026-11-20T10:00:00Z")).bytes_per_second, 4u << 20);
    EXPECT_EQ(all.at(at("2026-11-20T11:00:00Z")).bytes_per_second, 0u);
}

TEST(Calendar, OpensNowOrAtTheNextOpening) {
    Calendar nights = calendar({"22:00-06:00"}, "UTC");
    EXPECT_EQ(text(nights.next_opening(at("2026-11-20T12:00:00Z"))), "2026-11-20T22:00:00Z");
    EXPECT_EQ(text(nights.next_opening(at("2026-11-20T23:00:00Z"))), "2026-11-20T23:00:00Z");
    EXPECT_EQ(text(calendar({"2025-1-1"}, "UTC").next_opening(at("2026-11-20T23:00:00Z"))),
              "never");
}

TEST(Calendar, ASpanIsTheWholeUninterruptedOpening) {
    Calendar nights = calendar({"22:00-02:00", "02:00-06:00"}, "UTC");
    auto span = nights.span_at(at("2026-11-21T03:00:00Z"));
    ASSERT_TRUE(span);
    EXPECT_EQ(text(span->begin), "2026-11-20T22:00:00Z");
    EXPECT_EQ(text(span->end), "2026-11-21T06:00:00Z");
    EXPECT_FALSE(nights.span_at(at("2026-11-21T12:00:00Z")));
    span = calendar({}, "UTC").span_at(at("2026-11-21T12:00:00Z"));
    ASSERT_TRUE(span);
    EXPECT_EQ(span->end - span->begin, std::chrono::hours(14 * 24));
}

TEST(Calendar, AStepOfTheClockGivesTheAnswerOfTheNewTime) {
    Calendar nights = calendar({"Mon..Fri 22:00-06:00"}, "Europe/Berlin");
    const Timestamp before = at("2026-11-20T12:00:00Z");
    const Calendar::State first = nights.at(before);
    for (const char* other : {"2026-11-20T15:00:00Z", "1971-06-01T00:00:00Z",
                              "2037-12-31T23:00:00Z", "2150-07-04T01:00:00Z"}) {
        Calendar::State there = nights.at(at(other));
        ASSERT_TRUE(there.until) << other;
        EXPECT_GT(*there.until, at(other));
    }
    EXPECT_EQ(text(nights.at(before).until), text(first.until));
}

// What the C library's clock shows at an instant, by which each minute is open or not: the wall
// time lies in the window. Differs from the calendar only where the clock changes, and there only
// as the header says.
class CLibrary {
  public:
    explicit CLibrary(const std::string& tz) {
        if (const char* now = std::getenv("TZ")) before_ = now;
        ::setenv("TZ", tz.c_str(), 1);
        ::tzset();
    }
    ~CLibrary() {
        if (before_)
            ::setenv("TZ", before_->c_str(), 1);
        else
            ::unsetenv("TZ");
        ::tzset();
    }
    static bool is_in_window(const Window& window, std::int64_t now) {
        std::tm wall{};
        const auto time = static_cast<std::time_t>(now);
        ::localtime_r(&time, &wall);
        const std::int32_t second = wall.tm_hour * 3600 + wall.tm_min * 60 + wall.tm_sec;
        const auto day = static_cast<std::size_t>((wall.tm_wday + 6) % 7);
        if (!window.is_over_midnight())
            return window.weekdays[day] && second >= window.begin && second < window.end;
        return (window.weekdays[day] && second >= window.begin) ||
               (window.weekdays[(day + 6) % 7] && second < window.end);
    }
    static long offset(std::int64_t now) {
        std::tm wall{};
        const auto time = static_cast<std::time_t>(now);
        ::localtime_r(&time, &wall);
        return wall.tm_gmtoff;
    }

  private:
    std::optional<std::string> before_;
};

TEST(Calendar, AgreesWithTheClockOfTheCLibraryAwayFromItsChanges) {
    std::mt19937 random(7);
    std::size_t compared = 0;
    for (const char* tz : {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"}) {
        CLibrary library(tz);
        for (int round = 0; round < 150; ++round) {
            Window window;
            window.weekdays = std::bitset<7>(random() % 127 + 1);
            window.begin = static_cast<std::int32_t>(random() % 1440) * 60;
            window.end = static_cast<std::int32_t>(random() % 1440 + 1) * 60;
            Calendar one({window}, zone(tz));
            const std::int64_t from =
                1735689600 + static_cast<std::int64_t>(random() % (3 * 365)) * 86400;
            for (std::int64_t now = from; now < from + 3 * 86400; now += 17 * 60) {
                if (CLibrary::offset(now - 86400 * 2) != CLibrary::offset(now + 86400 * 2))
                    continue;
                ++compared;
                ASSERT_EQ(one.at(Timestamp(std::chrono::seconds(now))).is_open,
                          CLibrary::is_in_window(window, now))
                    << tz << " " << format_window(window) << " " << now;
            }
        }
    }
    EXPECT_GT(compared, 100'000u);
}

TEST(Calendar, UntilIsTheFirstMinuteThatDiffers) {
    std::mt19937 random(11);
    for (const char* tz : {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}) {
        for (int round = 0; round < 60; ++round) {
            std::vector<Window> windows(1 + random() % 3);
            for (Window& window : windows) {
                window.weekdays = std::bitset<7>(random() % 127 + 1);
                window.begin = static_cast<std::int32_t>(random() % 1440) * 60;
                window.end = static_cast<std::int32_t>(random() % 1440 + 1) * 60;
                window.bytes_per_second = random() % 3 * 1000;
            }
            Calendar all(windows, zone(tz));
            // Around the change to summer time and back, 2026.
            const std::int64_t from = (round % 2 == 0 ? 1774569600 : 1761350400) +
                                      static_cast<std::int64_t>(random() % 2000) * 60;
            const Timestamp now{std::chrono::seconds(from)};
            const Calendar::State state = all.at(now);
            std::int64_t minute = from;
            while (minute < from + 8 * 86400) {
                Calendar::State then = all.at(Timestamp(std::chrono::seconds(minute)));
                if (then.is_open != state.is_open ||
                    then.bytes_per_second != state.bytes_per_second)
                    break;
                minute += 60;
            }
            if (minute >= from + 8 * 86400) continue;
            ASSERT_TRUE(state.until);
            EXPECT_EQ(*state.until, Timestamp(std::chrono::seconds(minute))) << tz << " " << from;
        }
    }
}

// The begins of windows are calendar events that systemd computes as well.
TEST(Calendar, BeginsWhereSystemdSaysTheEventIs) {
    if (std::system("systemd-analyze --version >/dev/null 2>&1") != 0)
        GTEST_SKIP() << "no systemd-analyze here: nothing to compare with";
    int compared = 0;
    struct Event {
        const char *window, *event;
    };
    for (const Event& each :
         {Event{"Mon..Fri 22:00-06:00", "Mon..Fri 22:00"},
          Event{"Sat,Sun 12:00-13:30", "Sat,Sun 12:00"},
          Event{"Mon *-*-1..7 02:00-05:00", "Mon *-*-1..7 02:00"},
          Event{"*-02-29 01:00-02:00", "*-02-29 01:00"},
          Event{"Fri..Mon 00:00-01:00", "Fri,Sat,Sun,Mon 00:00"},
          Event{"2026..2027-12-24,31 18:00-20:00", "2026..2027-12-24,31 18:00"}}) {
        for (const char* tz : {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}) {
            for (const char* base :
                 {"2026-03-27 12:34:00", "2026-10-23 07:00:00", "2026-11-20 23:59:59"}) {
                const std::string command = std::string("TZ=") + tz +
                                            " systemd-analyze calendar --base-time='" + base +
                                            " UTC' --iterations=1 '" + each.event + "' 2>/dev/null";
                std::FILE* pipe = ::popen(command.c_str(), "r");
                ASSERT_NE(pipe, nullptr);
                std::string output;
                std::array<char, 4096> piece;
                for (std::size_t got = 0;
                     (got = std::fread(piece.data(), 1, piece.size(), pipe)) > 0;)
                    output.append(piece.data(), got);
                ASSERT_EQ(::pclose(pipe), 0) << command;
                // "(in UTC): Fri 2026-03-27 21:00:00 UTC"
                const std::size_t found = output.find("(in UTC): ");
                ASSERT_NE(found, std::string::npos) << command << "\n" << output;
                const std::string stamp = output.substr(found + 14, 19);
                std::string now = base;
                now[10] = 'T';
                Calendar::State state = calendar({each.window}, tz).at(at(now + "Z"));
                if (state.is_open) continue;  // then the next change is an end
                ++compared;
                std::string ours = text(state.until);
                ours[10] = ' ';
                EXPECT_EQ(ours.substr(0, 19), stamp) << each.window << " " << tz << " " << base;
            }
        }
    }
    EXPECT_GE(compared, 40);
}

TEST(Jitter, IsStableAndStaysInsideTheSpread) {
    const Duration spread = std::chrono::hours(5);
    const Duration mine = start_jitter("8f3c", "home", spread);
    EXPECT_EQ(start_jitter("8f3c", "home", spread), mine);
    EXPECT_NE(start_jitter("8f3d", "home", spread), mine);
    EXPECT_NE(start_jitter("8f3c", "work", spread), mine);
    EXPECT_EQ(start_jitter("8f3c", "home", Duration::zero()), Duration::zero());
    for (int i = 0; i < 1000; ++i) {
        Duration each = start_jitter(std::to_string(i), "home", spread);
        EXPECT_GE(each, Duration::zero());
        EXPECT_LT(each, spread);
    }
}

TEST(Jitter, AThousandMachinesDoNotMeetInASixHourWindow) {
    using namespace std::chrono_literals;
    std::mt19937_64 random(3);
    for (int fleet = 0; fleet < 20; ++fleet) {
        std::array<int, 360> begins{};  // by minute
        for (int machine = 0; machine < 1000; ++machine) {
            char id[33];
            std::snprintf(id, sizeof id, "%016llx%016llx",
                          static_cast<unsigned long long>(random()),
                          static_cast<unsigned long long>(random()));
            Duration begin = start_jitter(id, "home", jitter_spread(6h));
            ++begins[static_cast<std::size_t>(begin / 1min)];
        }
        int busiest = 0;
        for (std::size_t first = 0; first + 10 <= begins.size(); ++first) {
            int here = 0;
            for (std::size_t minute = first; minute < first + 10; ++minute) here += begins[minute];
            busiest = std::max(busiest, here);
        }
        EXPECT_LE(busiest, 2 * 1000 / 36) << "twice the mean of ten minutes";
    }
}

}  // namespace
}  // namespace backup
