// ZoneFormatter and parse_file_time: times as text.
#include <algorithm>
#include <cstring>
#include <limits>

#include "daemon/repository/calendar_days.h"
#include "daemon/repository/zone.h"

namespace backup {

namespace {

constexpr std::int64_t kDay = 86400;
// Beyond this only the clamped year shows; keeps the arithmetic far from overflow.
constexpr std::int64_t kFarthest = std::int64_t{1} << 56;
constexpr std::int64_t kFirstLocal = days_from_civil(0, 1, 1) * kDay;
constexpr std::int64_t kLastLocal = days_from_civil(10000, 1, 1) * kDay - 1;
// Between these the year needs no look whatever the offset (Zone refuses offsets of more than a day
// or two).
constexpr std::int64_t kFirstPlain = kFirstLocal + 10 * kDay;
constexpr std::int64_t kLastPlain = kLastLocal - 10 * kDay;
constexpr std::int64_t kNoDay = std::numeric_limits<std::int64_t>::min();

struct TwoDigits {
    char text[200];
    constexpr TwoDigits() : text() {
        for (int i = 0; i < 100; ++i) {
            text[2 * i] = static_cast<char>('0' + i / 10);
            text[2 * i + 1] = static_cast<char>('0' + i % 10);
        }
    }
};
constexpr TwoDigits kTwoDigits;

char* put_two(char* out, unsigned value) {
    std::memcpy(out, kTwoDigits.text + std::size_t{2} * value, 2);
    return out + 2;
}

char* put_fraction(char* out, std::uint32_t nanoseconds) {
    char digits[9];
    digits[0] = static_cast<char>('0' + nanoseconds / 100000000);
    std::uint32_t rest = nanoseconds % 100000000;
    put_two(digits + 1, rest / 1000000);
    rest %= 1000000;
    put_two(digits + 3, rest / 10000);
    rest %= 10000;
    put_two(digits + 5, rest / 100);
    put_two(digits + 7, rest % 100);
    int size = 9;
    while (digits[size - 1] == '0') --size;
    *out++ = '.';
    std::memcpy(out, digits,
                9);  // all nine: cheaper than a length that varies; kLongest has the room
    return out + size;
}

}  // namespace

ZoneFormatter::ZoneFormatter(std::shared_ptr<const Zone> zone)
    : zone_(std::move(zone)), day_(kNoDay) {
    move_to(0);
}

void ZoneFormatter::move_to(std::int64_t seconds) {
    period_ = zone_->at(seconds);
    day_ = kNoDay;
    if (period_.offset == 0) {
        suffix_[0] = 'Z';
        suffix_size_ = 1;
        return;
    }
    // Seconds of an old local mean time are dropped, towards zero.
    const std::int32_t minutes = period_.offset / 60;
    const auto size = static_cast<unsigned>(minutes < 0 ? -minutes : minutes);
    suffix_[0] = minutes < 0 ? '-' : '+';
    put_two(suffix_ + 1, size / 60);
    suffix_[3] = ':';
    put_two(suffix_ + 4, size % 60);
    suffix_size_ = 6;
}

char* ZoneFormatter::write(FileTime time, char* out) {
    if (time.seconds < kFirstPlain || time.seconds > kLastPlain) return write_far(time, out);
    if (time.seconds < period_.begin || time.seconds >= period_.end) move_to(time.seconds);
    return write_local(time.seconds + period_.offset, time.nanoseconds, out);
}

// `local` lies in the years 0 to 9999.
char* ZoneFormatter::write_local(std::int64_t local, std::uint32_t nanoseconds, char* out) {
    const std::int64_t day = floor_divide(local, kDay);
    if (day != day_) {
        const CivilDay civil = civil_from_days(day);
        put_two(date_, static_cast<unsigned>(civil.year / 100));
        put_two(date_ + 2, static_cast<unsigned>(civil.year % 100));
        date_[4] = '-';
        put_two(date_ + 5, static_cast<unsigned>(civil.month));
        date_[7] = '-';
        put_two(date_ + 8, static_cast<unsigned>(civil.day));
        date_[10] = 'T';
        day_ = day;
    }
    const auto second = static_cast<unsigned>(local - day * kDay);
    std::memcpy(out, date_, sizeof date_);
    out = put_two(out + sizeof date_, second / 3600);
    *out++ = ':';
    out = put_two(out, second / 60 % 60);
    *out++ = ':';
    out = put_two(out, second % 60);
    if (nanoseconds != 0) out = put_fraction(out, nanoseconds % 1000000000);
    std::memcpy(out, suffix_, sizeof suffix_);
    return out + suffix_size_;
}

// A year that four digits cannot hold becomes 0 or 9999; the rest of the local date stays, and then
// has the offset of its new place. 29 February becomes 1 March if need be.
char* ZoneFormatter::write_far(FileTime time, char* out) {
    std::int64_t seconds = std::clamp(time.seconds, -kFarthest, kFarthest);
    const std::int64_t local = seconds + zone_->at(seconds).offset;
    const std::int64_t day = floor_divide(local, kDay);
    const CivilDay civil = civil_from_days(day);
    if (civil.year < 0 || civil.year > 9999) {
        const std::int64_t year = civil.year < 0 ? 0 : 9999;
        const std::int64_t moved =
            (days_from_civil(year, civil.month, 1) + civil.day - 1) * kDay + (local - day * kDay);
        seconds = moved - zone_->at(moved - zone_->at(moved).offset).offset;
    }
    move_to(seconds);
    return write_local(std::clamp(seconds + period_.offset, kFirstLocal, kLastLocal),
                       time.nanoseconds, out);
}

std::string ZoneFormatter::text(FileTime time) {
    char buffer[kLongest];
    return {buffer, write(time, buffer)};
}

std::optional<FileTime> parse_file_time(std::string_view text) {
    if (text.size() < 20) return std::nullopt;
    const auto number = [&](std::size_t at, std::size_t digits, int most) {
        int value = 0;
        for (std::size_t i = at; i < at + digits; ++i) {
            if (i >= text.size() || text[i] < '0' || text[i] > '9') return -1;
            value = value * 10 + (text[i] - '0');
        }
        return value <= most ? value : -1;
    };
    const int year = number(0, 4, 9999), month = number(5, 2, 12), day = number(8, 2, 31);
    const int hour = number(11, 2, 23), minute = number(14, 2, 59), second = number(17, 2, 59);
    if (year < 0 || month < 1 || day < 1 || hour < 0 || minute < 0 || second < 0)
        return std::nullopt;
    if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') {
        return std::nullopt;
    }
    constexpr int kMonthDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (day > kMonthDays[month - 1] + (month == 2 && is_leap_year(year) ? 1 : 0))
        return std::nullopt;

    std::size_t at = 19;
    std::uint32_t nanoseconds = 0;
    if (text[at] == '.') {
        std::size_t digits = 0;
        std::uint32_t unit = 100000000;
        for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, ++digits) {
            nanoseconds += static_cast<std::uint32_t>(text[at] - '0') * unit;
            unit /= 10;
        }
        if (digits == 0 || digits > 9) return std::nullopt;
    }
    std::int64_t offset = 0;
    const std::string_view zone = text.substr(at);
    if (zone != "Z") {
        if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':')
            return std::nullopt;
        const int hours = number(at + 1, 2, 24), minutes = number(at + 4, 2, 59);
        if (hours < 0 || minutes < 0) return std::nullopt;
        offset = (hours * 60 + minutes) * 60 * (zone[0] == '-' ? -1 : 1);
    }
    return FileTime{
        days_from_civil(year, month, day) * kDay + hour * 3600 + minute * 60 + second - offset,
        nanoseconds};
}

}  // namespace backup
