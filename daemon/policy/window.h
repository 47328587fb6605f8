// Windows in which a set may upload, as people write them. Pure.
//
//     [WEEKDAYS] [DATES] [BEGIN-END] [at RATE]
//
//     Mon..Fri 22:00-06:00                  over midnight: Saturday until 06:00 belongs to Friday
//     Sat,Sun                               all day
//     12:00-13:30 at 2MiB/s                 every day, and not faster than that
//     Mon *-*-1..7 02:00-05:00              the first Monday of each month
//     *-02-29                               leap days
//
// Weekdays, ranges, lists and dates are written as in systemd.time(7), section "Calendar events";
// a window has two times of day instead of one. "daily" may stand for every day. The last day of a
// month and repetitions ("~", "/") are not part of it: a window needs neither.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace backup {

inline constexpr std::int32_t kSecondsPerDay = 86400;

struct Window {
    // Inclusive. A field without ranges matches everything.
    struct Range {
        std::int32_t first = 0, last = 0;
        bool operator==(const Range&) const = default;
    };
    std::bitset<7> weekdays{0x7f};  // bit 0 is Monday
    std::vector<Range> years, months, days;
    // Seconds of the wall clock after midnight of the day that matches, 0 to 86400; an end not
    // after the begin is on the next day.
    std::int32_t begin = 0, end = kSecondsPerDay;
    std::uint64_t bytes_per_second = 0;  // 0: no limit

    bool is_over_midnight() const { return end <= begin; }
    bool operator==(const Window&) const = default;
};

// `invalid`, naming the part that is wrong and what could stand there.
Result<Window> parse_window(std::string_view text);
// The shortest text that parse_window() reads back to exactly this.
std::string format_window(const Window& window);

// "2MiB/s", "500 kB/s"; the "/s" may be missing. "off" and "0": no limit.
Result<std::uint64_t> parse_rate(std::string_view text);

}  // namespace backup
