// Days since 1970-01-01 and the proleptic Gregorian calendar, for any year that fits. Pure.
#pragma once

#include <cstdint>

namespace backup {

struct CivilDay {
    std::int64_t year;
    int month, day;
};

constexpr bool is_leap_year(std::int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

// Years are counted from 1 March, so that the leap day is the last of its year, in cycles of 400
// years.
constexpr std::int64_t days_from_civil(std::int64_t year, int month, int day) {
    if (month <= 2) --year;
    const std::int64_t cycle = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_in_cycle = year - cycle * 400;
    const int month_from_march = month > 2 ? month - 3 : month + 9;
    const std::int64_t day_in_year = (153 * month_from_march + 2) / 5 + day - 1;
    return cycle * 146097 + year_in_cycle * 365 + year_in_cycle / 4 - year_in_cycle / 100 +
           day_in_year - 719468;
}

constexpr CivilDay civil_from_days(std::int64_t days) {
    days += 719468;
    const std::int64_t cycle = (days >= 0 ? days : days - 146096) / 146097;
    const std::int64_t day_in_cycle = days - cycle * 146097;
    const std::int64_t year_in_cycle =
        (day_in_cycle - day_in_cycle / 1460 + day_in_cycle / 36524 - day_in_cycle / 146096) / 365;
    const auto day_in_year = static_cast<int>(
        day_in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100));
    const int month_from_march = (5 * day_in_year + 2) / 153;
    const int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return {cycle * 400 + year_in_cycle + (month <= 2 ? 1 : 0), month,
            day_in_year - (153 * month_from_march + 2) / 5 + 1};
}

constexpr std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
    const std::int64_t quotient = value / by;
    return value % by < 0 ? quotient - 1 : quotient;
}

}  // namespace backup
