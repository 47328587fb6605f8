#include "daemon/repository/zone.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "daemon/repository/calendar_days.h"

namespace backup {

namespace {

constexpr std::int64_t kEarliest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kLatest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kDay = 86400;
constexpr std::size_t kMostFileBytes = 10 << 20;

// More could not be written as +hh:mm.
bool is_offset(std::int32_t seconds) {
    return seconds > -25 * 3600 && seconds < 25 * 3600;
}

// ---- the footer of a TZif file: "CET-1CEST,M3.5.0,M10.5.0/3"

struct RuleReader {
    std::string_view rest;

    bool take(char c) {
        if (rest.empty() || rest.front() != c) return false;
        rest.remove_prefix(1);
        return true;
    }
    // Either letters, at least three, or anything between angle brackets.
    bool name() {
        if (take('<')) {
            const auto end = rest.find('>');
            if (end == std::string_view::npos) return false;
            rest.remove_prefix(end + 1);
            return true;
        }
        const auto end = std::min(rest.find_first_of("0123456789,-+"), rest.size());
        rest.remove_prefix(end);
        return end >= 3;
    }
    std::optional<int> number(int least, int most) {
        int value = 0;
        std::size_t digits = 0;
        while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') {
            value = value * 10 + (rest[digits++] - '0');
            if (value > most) return std::nullopt;
        }
        if (digits == 0 || value < least) return std::nullopt;
        rest.remove_prefix(digits);
        return value;
    }
    // [+-]hh[:mm[:ss]]
    std::optional<std::int32_t> offset() {
        const bool negative = take('-');
        if (!negative) take('+');
        const auto hours = number(0, 24 * 7);
        if (!hours) return std::nullopt;
        std::int32_t seconds = *hours * 3600;
        for (std::int32_t unit = 60; unit >= 1 && take(':'); unit /= 60) {
            const auto part = number(0, 59);
            if (!part) return std::nullopt;
            seconds += *part * unit;
        }
        return negative ? -seconds : seconds;
    }
    std::optional<Zone::RuleDay> day() {
        Zone::RuleDay rule;
        std::optional<int> first;
        if (take('J')) {
            rule.kind = Zone::RuleDay::Kind::julian;
            first = number(1, 365);
        } else if (take('M')) {
            rule.kind = Zone::RuleDay::Kind::month_week_day;
            const auto month = number(1, 12);
            if (!month || !take('.')) return std::nullopt;
            const auto week = number(1, 5);
            if (!week || !take('.')) return std::nullopt;
            first = number(0, 6);
            rule.month = *month;
            rule.week = *week;
        } else {
            rule.kind = Zone::RuleDay::Kind::zero_based;
            first = number(0, 365);
        }
        if (!first) return std::nullopt;
        rule.day = *first;
        rule.seconds = 2 * 3600;
        if (take('/')) {
            const auto at = offset();
            if (!at) return std::nullopt;
            rule.seconds = *at;
        }
        return rule;
    }
};

std::optional<Zone::Rule> parse_rule(std::string_view text) {
    RuleReader reader{text};
    Zone::Rule rule;
    if (!reader.name()) return std::nullopt;
    const auto standard = reader.offset();
    if (!standard || !is_offset(*standard)) return std::nullopt;
    rule.standard = -*standard;  // POSIX counts west of Greenwich
    if (reader.rest.empty() || reader.rest.front() == ',') return rule;

    rule.has_summer = true;
    if (!reader.name()) return std::nullopt;
    rule.summer = rule.standard + 3600;
    if (!reader.rest.empty() && reader.rest.front() != ',' && reader.rest.front() != ';') {
        const auto summer = reader.offset();
        if (!summer) return std::nullopt;
        rule.summer = -*summer;
    }
    if (!is_offset(rule.summer)) return std::nullopt;
    if (reader.rest.empty()) reader.rest = ",M3.2.0,M11.1.0";
    if (!reader.take(',') && !reader.take(';')) return std::nullopt;
    const auto begin = reader.day();
    if (!begin || !reader.take(',')) return std::nullopt;
    const auto end = reader.day();
    if (!end || !reader.rest.empty()) return std::nullopt;
    rule.begin = *begin;
    rule.end = *end;
    return rule;
}

// Seconds from the start of the year (UTC) to the moment the rule names, while `offset` is in
// force.
std::int64_t moment(std::int64_t year, const Zone::RuleDay& rule, std::int32_t offset) {
    const std::int64_t year_start = days_from_civil(year, 1, 1);
    std::int64_t day = 0;
    switch (rule.kind) {
        case Zone::RuleDay::Kind::julian:  // 1 to 365; 29 February is never counted
            day = rule.day - 1 + (is_leap_year(year) && rule.day >= 60 ? 1 : 0);
            break;
        case Zone::RuleDay::Kind::zero_based:
            day = rule.day;
            break;
        case Zone::RuleDay::Kind::month_week_day: {
            const std::int64_t first = days_from_civil(year, rule.month, 1);
            const std::int64_t next = rule.month == 12 ? days_from_civil(year + 1, 1, 1)
                                                       : days_from_civil(year, rule.month + 1, 1);
            const std::int64_t weekday = ((first + 4) % 7 + 7) % 7;  // 1970-01-01 was a Thursday
            std::int64_t in_month = (rule.day - weekday + 7) % 7;
            for (int week = 1; week < rule.week && in_month + 7 < next - first; ++week)
                in_month += 7;
            day = first - year_start + in_month;
            break;
        }
    }
    return day * kDay + rule.seconds - offset;
}

// ---- TZif

struct TzifReader {
    ByteView rest;
    bool ok = true;

    ByteView take(std::size_t size) {
        if (size > rest.size()) {
            ok = false;
            return {};
        }
        const ByteView taken = rest.first(size);
        rest = rest.subspan(size);
        return taken;
    }
    std::uint32_t be32() {
        const ByteView bytes = take(4);
        if (!ok) return 0;
        return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
               std::uint32_t{bytes[2]} << 8 | bytes[3];
    }
    std::uint64_t be64() {
        const std::uint64_t high = be32();
        return high << 32 | be32();
    }
};

struct TzifHeader {
    std::uint8_t version = 0;
    std::size_t utc_local = 0, std_wall = 0, leaps = 0, times = 0, zones = 0, chars = 0;
};

bool read_header(TzifReader& in, TzifHeader& header) {
    const ByteView start = in.take(20);
    if (!in.ok || std::memcmp(start.data(), "TZif", 4) != 0) return false;
    header.version = start[4];
    for (std::size_t* count : {&header.utc_local, &header.std_wall, &header.leaps, &header.times,
                               &header.zones, &header.chars}) {
        *count = in.be32();
        if (*count > kMostFileBytes) return false;
    }
    return in.ok && (header.version == 0 || header.version == '2' || header.version == '3');
}

std::shared_ptr<const Zone> read_zone_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return nullptr;
    Bytes bytes;
    char part[4096];
    while (file.read(part, sizeof part), file.gcount() > 0) {
        append(bytes, as_bytes({part, static_cast<std::size_t>(file.gcount())}));
        if (bytes.size() > kMostFileBytes) return nullptr;
    }
    auto zone = Zone::parse(bytes);
    return zone.ok() ? *zone : nullptr;
}

}  // namespace

std::shared_ptr<const Zone> Zone::utc() {
    static const auto zone = std::make_shared<const Zone>();
    return zone;
}

std::shared_ptr<const Zone> Zone::local() {
    const char* tz = std::getenv("TZ");
    return from_tz(tz ? std::optional<std::string_view>(tz) : std::nullopt);
}

std::shared_ptr<const Zone> Zone::from_tz(std::optional<std::string_view> tz) {
    std::shared_ptr<const Zone> zone;
    if (!tz) {
        zone = read_zone_file("/etc/localtime");
    } else {
        std::string name(*tz);
        if (name.starts_with(':')) name.erase(0, 1);
        if (name.starts_with('/')) {
            zone = read_zone_file(name);
        } else if (!name.empty() && name != "UTC") {
            for (const char* folder : {"/usr/share/zoneinfo/", "/usr/share/lib/zoneinfo/",
                                       "/usr/lib/locale/TZ/", "/etc/zoneinfo/"}) {
                zone = read_zone_file(folder + name);
                if (zone) break;
            }
        }
    }
    return zone ? zone : utc();
}

// Two copies of the same tables, the second with 64 bit times; then the footer, a rule between two
// newlines.
Result<std::shared_ptr<const Zone>> Zone::parse(ByteView tzif) {
    const Error bad(ErrorKind::invalid, "no TZif data");
    TzifReader in{tzif};
    TzifHeader header;
    if (!read_header(in, header)) return bad;
    const bool wide = header.version != 0;
    if (wide) {
        in.take(header.times * 5 + header.zones * 6 + header.chars + header.leaps * 8 +
                header.std_wall + header.utc_local);
        if (!in.ok || !read_header(in, header)) return bad;
    }
    TzifReader times{in.take(header.times * (wide ? 8 : 4))};
    const ByteView indexes = in.take(header.times);
    TzifReader zones{in.take(header.zones * 6)};
    in.take(header.chars + header.leaps * (wide ? 12 : 8) + header.std_wall + header.utc_local);
    if (!in.ok || header.zones == 0) return bad;

    struct LocalType {
        std::int32_t offset;
        bool is_summer;
    };
    std::vector<LocalType> types;
    for (std::size_t i = 0; i < header.zones; ++i) {
        const auto offset = static_cast<std::int32_t>(zones.be32());
        const ByteView flags = zones.take(2);
        if (flags[1] >= header.chars) return bad;
        if (!is_offset(offset)) return bad;
        types.push_back({offset, flags[0] != 0});
    }

    auto zone = std::make_shared<Zone>();
    bool first_is_used = false;
    for (std::size_t i = 0; i < header.times; ++i) {
        const std::int64_t at = wide ? static_cast<std::int64_t>(times.be64())
                                     : static_cast<std::int32_t>(times.be32());
        if (indexes[i] >= types.size()) return bad;
        first_is_used |= indexes[i] == 0;
        zone->transitions_.push_back({at, types[indexes[i]].offset});
    }
    // Before the first transition: type 0 if no transition leads to it; else the nearest standard
    // time listed before the first transition's summer time; else any standard time.
    std::size_t before = 0;
    if (first_is_used) {
        bool found = false;
        if (types[indexes[0]].is_summer) {
            for (std::size_t i = indexes[0]; i-- > 0 && !found;) {
                found = !types[i].is_summer;
                if (found) before = i;
            }
        }
        for (std::size_t i = 0; i < types.size() && !found; ++i) {
            found = !types[i].is_summer;
            if (found) before = i;
        }
    }
    zone->first_offset_ = types[before].offset;
    if (zone->transitions_.empty()) zone->transitions_.push_back({kEarliest, types[0].offset});
    if (!std::is_sorted(zone->transitions_.begin(), zone->transitions_.end(),
                        [](const Transition& a, const Transition& b) { return a.at < b.at; })) {
        return bad;
    }

    const std::string_view footer = as_text(in.rest);
    if (wide && footer.size() > 2 && footer.front() == '\n' && footer.back() == '\n') {
        zone->rule_ = parse_rule(footer.substr(1, footer.size() - 2));
    }
    return std::shared_ptr<const Zone>(std::move(zone));
}

Zone::Period Zone::at(std::int64_t unix_seconds) const {
    if (transitions_.empty()) return {kEarliest, kLatest, 0};
    const auto next =
        std::upper_bound(transitions_.begin(), transitions_.end(), unix_seconds,
                         [](std::int64_t time, const Transition& t) { return time < t.at; });
    if (next == transitions_.begin()) return {kEarliest, next->at, first_offset_};
    const Transition& last = *std::prev(next);
    if (next != transitions_.end()) return {last.at, next->at, last.offset};
    if (rule_) return at_rule(unix_seconds, last.at);
    return {last.at, kLatest, last.offset};
}

Zone::Period Zone::at_rule(std::int64_t unix_seconds, std::int64_t from) const {
    if (!rule_->has_summer) return {from, kLatest, rule_->standard};
    const std::int64_t year = civil_from_days(floor_divide(unix_seconds, kDay)).year;
    const std::int64_t year_start = days_from_civil(year, 1, 1) * kDay;
    const std::int64_t next_year = days_from_civil(year + 1, 1, 1) * kDay;
    std::int64_t begin = year_start + moment(year, rule_->begin, rule_->standard);
    std::int64_t end = year_start + moment(year, rule_->end, rule_->summer);
    std::int32_t outside = rule_->standard;
    std::int32_t inside = rule_->summer;
    if (end < begin) {  // the southern half of the world: summer holds the turn of the year
        std::swap(begin, end);
        std::swap(outside, inside);
    }
    if (unix_seconds < begin)
        return {std::max(from, year_start), std::min(begin, next_year), outside};
    if (unix_seconds >= end) return {std::max({from, year_start, end}), next_year, outside};
    return {std::max({from, year_start, begin}), std::min(end, next_year), inside};
}

}  // namespace backup
