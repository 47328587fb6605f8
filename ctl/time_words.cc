#include "ctl/time_words.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include <time.h>

#include "common/path.h"

namespace backup {

namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

std::string lower_words(std::string_view text) {
    std::string words;
    for (char c : text) {
        bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
        if (space && (words.empty() || words.back() == ' ')) continue;
        words += space ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    while (!words.empty() && words.back() == ' ') words.pop_back();
    return words;
}

Error not_understood(std::string_view text) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments,
            "'" + printable(text) +
                "' is not a time\ntry: latest, now, today, yesterday, \"2 hours ago\", 2026-11-20, "
                "\"2026-11-20 09:30\", 2026-11-20T09:30:00+01:00"};
}

struct Civil {
    int year, month, day, hour = 0, minute = 0, second = 0;
};

time_t local_seconds(const Civil& civil, int daylight) {
    struct tm parts {};
    parts.tm_year = civil.year - 1900;
    parts.tm_mon = civil.month - 1;
    parts.tm_mday = civil.day;
    parts.tm_hour = civil.hour;
    parts.tm_min = civil.minute;
    parts.tm_sec = civil.second;
    parts.tm_isdst = daylight;
    return mktime(&parts);
}

bool reads_as(time_t value, const Civil& civil) {
    struct tm parts {};
    localtime_r(&value, &parts);
    struct tm wanted {};
    wanted.tm_year = civil.year - 1900;
    wanted.tm_mon = civil.month - 1;
    wanted.tm_mday = civil.day;
    wanted.tm_hour = civil.hour;
    wanted.tm_min = civil.minute;
    wanted.tm_sec = civil.second;
    timegm(&wanted);  // normalises day 32 and the like
    return parts.tm_mday == wanted.tm_mday && parts.tm_hour == wanted.tm_hour &&
           parts.tm_min == wanted.tm_min && parts.tm_sec == wanted.tm_sec;
}

// When the clock showed `civil`: first and last reading, which differ where an hour is repeated.
std::pair<time_t, time_t> readings(const Civil& civil) {
    time_t any = local_seconds(civil, -1);
    time_t first = any, last = any;
    for (int daylight : {0, 1}) {
        time_t other = local_seconds(civil, daylight);
        if (other == -1 || !reads_as(other, civil)) continue;
        first = std::min(first, other);
        last = std::max(last, other);
    }
    return {first, last};
}

// From the first reading of `from` to just before the last reading of `to`.
TimeSpan between(const Civil& from, const Civil& to) {
    return {Timestamp(seconds(readings(from).first)),
            Timestamp(seconds(readings(to).second)) - nanoseconds(1)};
}
// For units shorter than a day: the length is known, and the next unit may lie behind a clock
// change.
TimeSpan lasting(const Civil& from, seconds length) {
    auto [first, last] = readings(from);
    return {Timestamp(seconds(first)), Timestamp(seconds(last) + length) - nanoseconds(1)};
}

TimeSpan whole_day(Civil day) {
    Civil next = day;
    ++next.day;
    return between(day, next);
}

Civil civil_of(Timestamp time) {
    time_t value = std::chrono::floor<seconds>(time.time_since_epoch()).count();
    struct tm parts {};
    localtime_r(&value, &parts);
    return {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
            parts.tm_hour,        parts.tm_min,     parts.tm_sec};
}

// Takes `count` digits from the front of `text`.
std::optional<int> take_number(std::string_view& text, std::size_t count) {
    if (text.size() < count) return std::nullopt;
    int value = 0;
    for (char c : text.substr(0, count)) {
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + (c - '0');
    }
    text.remove_prefix(count);
    return value;
}
bool take(std::string_view& text, char wanted) {
    if (text.empty() || text.front() != wanted) return false;
    text.remove_prefix(1);
    return true;
}

bool is_day(int year, int month, int day) {
    // What Timestamp can hold, in whole years.
    return year >= 1678 && year <= 2261 && (std::chrono::year(year) / month / day).ok();
}

// "HH:MM" or "HH:MM:SS" on the given day.
std::optional<TimeSpan> time_of_day(Civil day, std::string_view text) {
    auto hour = take_number(text, 2);
    if (!hour || !take(text, ':')) return std::nullopt;
    auto minute = take_number(text, 2);
    if (!minute || *hour > 23 || *minute > 59) return std::nullopt;
    day.hour = *hour;
    day.minute = *minute;
    day.second = 0;
    if (text.empty()) return lasting(day, seconds(60));
    if (!take(text, ':')) return std::nullopt;
    auto second = take_number(text, 2);
    if (!second || *second > 60 || !text.empty()) return std::nullopt;
    day.second = *second;
    return lasting(day, seconds(1));
}

std::optional<TimeSpan> date_and_time(std::string_view text) {
    auto year = take_number(text, 4);
    if (!year || !take(text, '-')) return std::nullopt;
    auto month = take_number(text, 2);
    if (!month || !take(text, '-')) return std::nullopt;
    auto day = take_number(text, 2);
    if (!day || !is_day(*year, *month, *day)) return std::nullopt;
    Civil civil{*year, *month, *day};
    if (text.empty()) return whole_day(civil);
    if (!take(text, ' ') && !take(text, 't')) return std::nullopt;
    return time_of_day(civil, text);
}

enum class Unit { second, minute, hour, day, week, month, year };

std::optional<Unit> unit_of(std::string_view word) {
    static const std::vector<std::pair<std::string_view, Unit>> kUnits = {
        {"s", Unit::second},       {"sec", Unit::second},     {"secs", Unit::second},
        {"second", Unit::second},  {"seconds", Unit::second}, {"m", Unit::minute},
        {"min", Unit::minute},     {"mins", Unit::minute},    {"minute", Unit::minute},
        {"minutes", Unit::minute}, {"h", Unit::hour},         {"hr", Unit::hour},
        {"hour", Unit::hour},      {"hours", Unit::hour},     {"d", Unit::day},
        {"day", Unit::day},        {"days", Unit::day},       {"w", Unit::week},
        {"week", Unit::week},      {"weeks", Unit::week},     {"month", Unit::month},
        {"months", Unit::month},   {"y", Unit::year},         {"year", Unit::year},
        {"years", Unit::year}};
    for (const auto& [name, unit] : kUnits)
        if (name == word) return unit;
    return std::nullopt;
}

struct Amount {
    int count;
    Unit unit;
};

// "2 hours", "2h", "an hour", "a day".
std::optional<Amount> amount_of(std::string_view text) {
    int count = 0;
    if (text.starts_with("a ") || text.starts_with("an ")) {
        count = 1;
        text.remove_prefix(text.find(' '));
    } else {
        std::size_t digits = 0;
        while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
        if (digits == 0 || digits > 7) return std::nullopt;
        count = *take_number(text, digits);
    }
    while (take(text, ' ')) {
    }
    auto unit = unit_of(text);
    if (!unit) return std::nullopt;
    return Amount{count, *unit};
}

std::optional<seconds> fixed_length(Amount amount) {
    switch (amount.unit) {
        case Unit::second:
            return seconds(amount.count);
        case Unit::minute:
            return seconds(std::int64_t{amount.count} * 60);
        case Unit::hour:
            return seconds(std::int64_t{amount.count} * 3600);
        case Unit::day:
            return seconds(std::int64_t{amount.count} * 86400);
        case Unit::week:
            return seconds(std::int64_t{amount.count} * 7 * 86400);
        case Unit::month:
        case Unit::year:
            return std::nullopt;
    }
    return std::nullopt;
}

// Days and longer keep the time of day whatever the clocks did in between; hours and shorter are
// elapsed time.
std::optional<Timestamp> ago(Amount amount, Timestamp now) {
    Civil civil = civil_of(now);
    switch (amount.unit) {
        case Unit::second:
        case Unit::minute:
        case Unit::hour:
            return now - *fixed_length(amount);
        case Unit::day:
            civil.day -= amount.count;
            break;
        case Unit::week:
            civil.day -= 7 * amount.count;
            break;
        case Unit::month: {
            int months = civil.year * 12 + civil.month - 1 - amount.count;
            if (months < 12 * 1678) return std::nullopt;
            civil.year = months / 12;
            civil.month = months % 12 + 1;
            break;
        }
        case Unit::year:
            civil.year -= amount.count;
            break;
    }
    if (civil.year < 1678) return std::nullopt;
    if (amount.unit == Unit::month || amount.unit == Unit::year) {
        while (civil.day > 28 && !is_day(civil.year, civil.month, civil.day)) --civil.day;
    }
    auto fraction = now.time_since_epoch() - std::chrono::floor<seconds>(now.time_since_epoch());
    time_t value = readings(civil).second;
    constexpr time_t kMost = 9'200'000'000;  // Timestamp ends in 2262, and begins in 1677
    if (value < -kMost || value > kMost) return std::nullopt;
    return Timestamp(seconds(value)) + fraction;
}

}  // namespace

Result<TimeSpan> parse_time_words(std::string_view text, Timestamp now) {
    std::string words = lower_words(text);
    if (words == "latest" || words == "last") return TimeSpan{now, now, true};
    if (words == "now") return TimeSpan{now, now};
    if (auto exact = parse_rfc3339(text); exact.ok()) {
        bool fraction = text.find('.') != std::string_view::npos;
        return TimeSpan{*exact, fraction ? *exact : *exact + seconds(1) - nanoseconds(1)};
    }
    if (auto span = date_and_time(words)) return *span;
    Civil today = civil_of(now);
    today.hour = today.minute = today.second = 0;
    if (auto span = time_of_day(today, words)) return *span;
    for (auto [name, back] : {std::pair{"today", 0}, std::pair{"yesterday", 1}}) {
        std::string_view rest = words;
        if (!rest.starts_with(name)) continue;
        rest.remove_prefix(std::string_view(name).size());
        Civil day = today;
        day.day -= back;
        if (rest.empty()) return whole_day(day);
        if (!take(rest, ' ')) break;
        if (auto span = time_of_day(day, rest)) return *span;
    }
    if (words.ends_with(" ago")) {
        auto amount = amount_of(std::string_view(words).substr(0, words.size() - 4));
        if (amount) {
            if (auto time = ago(*amount, now)) return TimeSpan{*time, *time};
        }
    }
    return not_understood(text);
}

Result<std::uint64_t> parse_duration(std::string_view text) {
    Error bad(
        ErrorKind::invalid, ErrorCode::invalid_arguments,
        "'" + printable(text) + "' is not a duration\ntry: 30s, 10min, 2h, \"1h 30min\", 1d, 1w");
    std::string words = lower_words(text);
    if (!words.empty() && words.find_first_not_of("0123456789") == std::string::npos) words += "s";
    if (words.empty()) return bad;
    std::uint64_t total = 0;
    std::size_t at = 0;
    // Each part begins with a digit, after a letter or a space behind one: "1h 30min", "1h30min",
    // "2 hours".
    while (at < words.size()) {
        std::size_t unit = words.find_first_not_of("0123456789 ", at);
        std::size_t end =
            unit == std::string::npos ? unit : words.find_first_of("0123456789", unit);
        std::string part = words.substr(at, end == std::string::npos ? end : end - at);
        while (!part.empty() && part.back() == ' ') part.pop_back();
        auto amount = amount_of(part);
        auto length = amount ? fixed_length(*amount) : std::nullopt;
        if (!length) return bad;
        total += static_cast<std::uint64_t>(length->count());
        at = end == std::string::npos ? words.size() : end;
    }
    return total;
}

}  // namespace backup
