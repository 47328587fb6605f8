#include "common/clock.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <time.h>

namespace backup {

namespace {

// Seconds to add to the wall clock, from a file that a test may change at any time.
Duration step_of_tests(const char* file) {
    std::ifstream stream(file);
    std::int64_t seconds = 0;
    stream >> seconds;
    return std::chrono::seconds(seconds);
}

const char* step_file() {
    static const char* const file = std::getenv("BACKUPD_CLOCK_STEP");
    return file;
}

}  // namespace

Timestamp SystemClock::now() const {
    Timestamp time = std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
    return step_file() == nullptr ? time : time + step_of_tests(step_file());
}
bool SystemClock::jumps_unseen() const {
    return step_file() != nullptr;
}
MonotonicTime SystemClock::monotonic() const {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
}

std::uint64_t to_usec(Timestamp time) {
    auto count =
        std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
    return count < 0 ? 0 : static_cast<std::uint64_t>(count);
}
Timestamp from_usec(std::uint64_t usec) {
    constexpr std::uint64_t kMost = 9'223'372'036'854'775;  // what fits into int64 nanoseconds
    return Timestamp(std::chrono::microseconds(static_cast<std::int64_t>(std::min(usec, kMost))));
}

namespace {

std::string format(Timestamp time, bool utc) {
    auto since = time.time_since_epoch();
    auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    auto nanoseconds = static_cast<long>((since - seconds).count());
    time_t value = seconds.count();
    struct tm parts {};
    if (utc)
        gmtime_r(&value, &parts);
    else
        localtime_r(&value, &parts);
    char text[80];
    int used =
        std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d", parts.tm_year + 1900,
                      parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    std::string result(text, static_cast<std::size_t>(used));
    if (nanoseconds != 0) {
        std::snprintf(text, sizeof text, ".%09ld", nanoseconds);
        std::string fraction(text);
        fraction.erase(fraction.find_last_not_of('0') + 1);
        result += fraction;
    }
    long offset = utc ? 0 : parts.tm_gmtoff / 60;  // minutes, truncated towards zero
    if (offset == 0) return result + "Z";
    std::snprintf(text, sizeof text, "%c%02ld:%02ld", offset < 0 ? '-' : '+',
                  std::labs(offset) / 60, std::labs(offset) % 60);
    return result + text;
}

// Reads exactly `digits` decimal digits at `at`; -1 when there are others.
int number(std::string_view text, std::size_t at, std::size_t digits) {
    if (at + digits > text.size()) return -1;
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) {
        if (text[i] < '0' || text[i] > '9') return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

}  // namespace

std::string format_rfc3339(Timestamp time) {
    return format(time, false);
}
std::string format_rfc3339_utc(Timestamp time) {
    return format(time, true);
}

Result<Timestamp> parse_rfc3339(std::string_view text) {
    auto bad = [&] {
        return Error(ErrorKind::invalid, "not an RFC 3339 time: " + std::string(text));
    };
    int year = number(text, 0, 4), month = number(text, 5, 2), day = number(text, 8, 2);
    int hour = number(text, 11, 2), minute = number(text, 14, 2), second = number(text, 17, 2);
    if (text.size() < 20 || text[4] != '-' || text[7] != '-' ||
        (text[10] != 'T' && text[10] != 't') || text[13] != ':' || text[16] != ':')
        return bad();
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 24 ||
        minute < 0 || minute > 59 || second < 0 || second > 60)
        return bad();
    std::size_t at = 19;
    std::int64_t nanoseconds = 0;
    if (text[at] == '.') {
        std::int64_t unit = 100'000'000;
        std::size_t begin = ++at;
        for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10)
            nanoseconds += (text[at] - '0') * unit;
        if (at == begin) return bad();
    }
    std::int64_t offset = 0;
    if (at < text.size() && (text[at] == 'Z' || text[at] == 'z')) {
        ++at;
    } else if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
        int offset_hours = number(text, at + 1, 2), offset_minutes = number(text, at + 4, 2);
        if (offset_hours < 0 || offset_minutes < 0 || text[at + 3] != ':') return bad();
        offset = offset_hours * 3600 + offset_minutes * 60;
        if (text[at] == '-') offset = -offset;
        at += 6;
    } else {
        return bad();
    }
    if (at != text.size()) return bad();
    struct tm parts {};
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = day;
    parts.tm_hour = hour;
    parts.tm_min = minute;
    parts.tm_sec = second;
    std::int64_t seconds = static_cast<std::int64_t>(timegm(&parts)) - offset;
    constexpr std::int64_t kMost = 9'223'372'035;
    if (seconds > kMost) return Timestamp(std::chrono::seconds(kMost));
    if (seconds < -kMost) return Timestamp(std::chrono::seconds(-kMost));
    return Timestamp(std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanoseconds));
}

}  // namespace backup
