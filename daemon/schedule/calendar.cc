#include "daemon/schedule/calendar.h"

#include <algorithm>
#include <set>
#include <string>

#include "daemon/repository/calendar_days.h"
#include "daemon/repository/crypto.h"

namespace backup {

namespace {

// Zones are at most 15 hours away from UTC and change by less than a day.
constexpr std::int64_t kReach = 2 * std::int64_t{kSecondsPerDay};
constexpr std::int64_t kMostSpanDays = 7;

bool is_in(const std::vector<Window::Range>& ranges, std::int64_t value) {
    return ranges.empty() || std::ranges::any_of(ranges, [&](const Window::Range& range) {
               return value >= range.first && value <= range.last;
           });
}

bool matches_day(const Window& window, std::int64_t day) {
    // 1970-01-01 was a Thursday.
    const auto weekday = static_cast<std::size_t>(day + 3 - floor_divide(day + 3, 7) * 7);
    if (!window.weekdays[weekday]) return false;
    const CivilDay date = civil_from_days(day);
    return is_in(window.years, date.year) && is_in(window.months, date.month) &&
           is_in(window.days, date.day);
}

// The first instant at which the wall clock shows `wall` or later.
std::int64_t first_instant(const Zone& zone, std::int64_t wall) {
    for (std::int64_t at = wall - kReach;;) {
        const Zone::Period period = zone.at(at);
        const std::int64_t instant = std::max(at, wall - period.offset);
        if (instant < period.end) return instant;
        at = period.end;
    }
}

// The instant from which on the wall clock never again shows less than `wall`.
std::int64_t last_instant(const Zone& zone, std::int64_t wall) {
    std::int64_t found = wall - kReach;
    for (std::int64_t at = wall - kReach; at < wall + kReach;) {
        const Zone::Period period = zone.at(at);
        if (at + period.offset < wall) found = std::min(period.end, wall - period.offset);
        at = period.end;
    }
    return found;
}

Timestamp timestamp(std::int64_t unix_seconds) {
    return Timestamp(std::chrono::seconds(unix_seconds));
}

std::int64_t unix_seconds(Timestamp time) {
    return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

}  // namespace

std::optional<Calendar::Interval> Calendar::interval(const Window& window, std::int64_t day) const {
    if (!matches_day(window, day)) return std::nullopt;
    const std::int64_t midnight = day * kSecondsPerDay;
    const std::int64_t end =
        midnight + window.end + (window.is_over_midnight() ? kSecondsPerDay : 0);
    Interval found{first_instant(*zone_, midnight + window.begin), last_instant(*zone_, end)};
    if (found.end <= found.begin) return std::nullopt;
    return found;
}

std::int64_t Calendar::local_day(std::int64_t unix_seconds) const {
    return floor_divide(unix_seconds + zone_->at(unix_seconds).offset, kSecondsPerDay);
}

bool Calendar::is_always_open() const {
    return windows_.empty();
}

// What names no dates is the same every week, but for hours that the clock skips.
std::int64_t Calendar::horizon() const {
    constexpr std::int64_t kWeeks = 28;
    const bool has_dates = std::ranges::any_of(windows_, [](const Window& window) {
        return !window.years.empty() || !window.months.empty() || !window.days.empty();
    });
    return has_dates ? kHorizonDays : kWeeks;
}

// Without `until`. The days around are those whose windows can reach here.
Calendar::State Calendar::state_at(std::int64_t now) const {
    State state;
    if (is_always_open()) return {true, 0, std::nullopt};
    const std::int64_t today = local_day(now);
    for (const Window& window : windows_) {
        for (std::int64_t day = today - 2; day <= today + 1; ++day) {
            const auto found = interval(window, day);
            if (!found || now < found->begin || now >= found->end) continue;
            const std::uint64_t rate = window.bytes_per_second;
            if (!state.is_open)
                state.bytes_per_second = rate;
            else if (state.bytes_per_second != 0)
                state.bytes_per_second = rate == 0 ? 0 : std::max(state.bytes_per_second, rate);
            state.is_open = true;
        }
    }
    return state;
}

Calendar::State Calendar::at(Timestamp now) const {
    const std::int64_t from = unix_seconds(now);
    State state = state_at(from);
    if (is_always_open()) return state;
    // States change only where an interval begins or ends. Days come in order and windows of one
    // day may reach into the next two, so an edge is final once no earlier day can bring one.
    const std::int64_t today = local_day(from);
    std::set<std::int64_t> edges;
    for (std::int64_t day = today - 2; day <= today + horizon(); ++day) {
        for (const Window& window : windows_) {
            const auto found = interval(window, day);
            if (!found) continue;
            if (found->begin > from) edges.insert(found->begin);
            if (found->end > from) edges.insert(found->end);
        }
        const std::int64_t final_before = (day - 1) * kSecondsPerDay;
        while (!edges.empty() && *edges.begin() < final_before) {
            const std::int64_t edge = *edges.begin();
            edges.erase(edges.begin());
            const State then = state_at(edge);
            if (then.is_open != state.is_open || then.bytes_per_second != state.bytes_per_second) {
                state.until = timestamp(edge);
                return state;
            }
        }
    }
    return state;
}

std::optional<Timestamp> Calendar::next_opening(Timestamp now) const {
    State state = at(now);
    if (state.is_open) return now;
    return state.until;  // closed has no rate: what comes next is open
}

std::optional<Calendar::Span> Calendar::span_at(Timestamp now) const {
    const std::int64_t from = unix_seconds(now);
    if (!state_at(from).is_open) return std::nullopt;
    const std::int64_t least = from - kMostSpanDays * kSecondsPerDay;
    const std::int64_t most = from + kMostSpanDays * kSecondsPerDay;
    if (is_always_open()) return Span{timestamp(least), timestamp(most)};
    std::vector<Interval> all;
    const std::int64_t today = local_day(from);
    for (std::int64_t day = today - kMostSpanDays - 2; day <= today + kMostSpanDays + 1; ++day)
        for (const Window& window : windows_)
            if (auto found = interval(window, day)) all.push_back(*found);
    Interval span{from, from + 1};
    for (bool grew = true; grew;) {
        grew = false;
        for (const Interval& each : all) {
            if (each.begin > span.end || each.end < span.begin) continue;
            if (each.begin >= span.begin && each.end <= span.end) continue;
            span = {std::min(span.begin, each.begin), std::max(span.end, each.end)};
            grew = true;
        }
    }
    return Span{timestamp(std::max(span.begin, least)), timestamp(std::min(span.end, most))};
}

Duration start_jitter(std::string_view machine_id, std::string_view set, Duration spread) {
    if (spread <= Duration::zero()) return Duration::zero();
    std::string text = "backupd start of windows\n";
    text.append(machine_id).append("\n").append(set);
    const Sha256Digest digest = sha256(as_bytes(text));
    std::uint64_t share = 0;
    for (std::size_t i = 0; i < 8; ++i) share = share << 8 | digest[i];
    // A fraction of 53 bits: finer than a microsecond of any spread that makes sense.
    const double fraction = static_cast<double>(share >> 11) / static_cast<double>(1ULL << 53);
    return Duration(static_cast<Duration::rep>(fraction * static_cast<double>(spread.count())));
}

Duration jitter_spread(Duration window) {
    return window - window / 10;
}

}  // namespace backup
