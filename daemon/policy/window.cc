#include "daemon/policy/window.h"

#include <charconv>
#include <cstdio>
#include <optional>
#include <utility>

#include "common/path.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

constexpr std::array<std::string_view, 7> kWeekdays = {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
constexpr std::array<std::string_view, 7> kShortWeekdays = {"Mon", "Tue", "Wed", "Thu",
                                                            "Fri", "Sat", "Sun"};
constexpr std::int32_t kFirstYear = 1970, kLastYear = 2199;  // those of systemd.time(7)

Error bad(std::string_view what, std::string_view part, std::string_view hint) {
    return {ErrorKind::invalid,
            "'" + printable(part) + "' is no " + std::string(what) + ": " + std::string(hint)};
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

// What stands before `separator`, which is taken as well; all of it when there is none.
std::string_view take_until(std::string_view& text, std::string_view separator) {
    const std::size_t at = text.find(separator);
    std::string_view taken = text.substr(0, at);
    text = at == std::string_view::npos ? std::string_view() : text.substr(at + separator.size());
    return taken;
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        std::string_view word = take_until(text, " ");
        if (!word.empty()) words.push_back(word);
    }
    return words;
}

std::optional<std::int32_t> number(std::string_view text) {
    std::int32_t value = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || text.front() == '-' || problem != std::errc() ||
        end != text.data() + text.size())
        return std::nullopt;
    return value;
}

// ---- weekdays ----------------------------------------------------------------------------------

std::optional<std::size_t> weekday(std::string_view text) {
    const std::string word = lower(text);
    for (std::size_t day = 0; day < kWeekdays.size(); ++day)
        if (word == kWeekdays[day] || word == kWeekdays[day].substr(0, 3)) return day;
    return std::nullopt;
}

bool is_weekdays(std::string_view word) {
    const char c = word.front();
    return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && lower(word) != "daily";
}

Result<std::bitset<7>> parse_weekdays(std::string_view word) {
    constexpr std::string_view kHint =
        "write Mon, Tue, ... Sun, lists as Sat,Sun, ranges as Mon..Fri";
    std::bitset<7> days;
    std::string_view left = word;
    do {
        std::string_view part = take_until(left, ",");
        std::string_view last = part;
        std::string_view first = take_until(last, "..");
        const bool is_range = first.size() != part.size();
        auto from = weekday(first);
        auto to = is_range ? weekday(last) : from;
        if (!from || !to) return bad("weekday", part, kHint);
        // Fri..Mon goes round the end of the week.
        for (std::size_t day = *from;; day = (day + 1) % 7) {
            days.set(day);
            if (day == *to) break;
        }
    } while (!left.empty());
    if (word.ends_with(',')) return bad("weekday", "", kHint);
    return days;
}

// ---- dates -------------------------------------------------------------------------------------

Result<std::vector<Window::Range>> parse_field(std::string_view text, std::string_view what,
                                               std::int32_t least, std::int32_t most) {
    std::vector<Window::Range> ranges;
    if (text == "*") return ranges;
    const std::string hint = "write *, a number from " + std::to_string(least) + " to " +
                             std::to_string(most) + ", lists as 1,15, ranges as 1..7";
    if (text.empty() || text.ends_with(',')) return bad(what, text, hint);
    for (std::string_view left = text; !left.empty();) {
        std::string_view part = take_until(left, ",");
        std::string_view last = part;
        std::string_view first = take_until(last, "..");
        auto from = number(first);
        auto to = part.find("..") == std::string_view::npos ? from : number(last);
        if (!from || !to || *from < least || *to > most || *from > *to)
            return bad(what, part, hint);
        ranges.push_back({*from, *to});
    }
    return ranges;
}

Result<> parse_dates(std::string_view word, Window& window) {
    std::string_view left = word;
    std::vector<std::string_view> fields;
    while (!left.empty()) fields.push_back(take_until(left, "-"));
    if (word.ends_with("/s"))
        return bad("part of a window", word,
                   "a rate is written with 'at': at " + std::string(word));
    if (fields.size() == 2) fields.insert(fields.begin(), "*");
    if (fields.size() != 3 || word.ends_with('-'))
        return bad("date", word, "write *-*-1..7 or 12-24, as year-month-day or month-day");
    window.years = TRY(parse_field(fields[0], "year", kFirstYear, kLastYear));
    window.months = TRY(parse_field(fields[1], "month", 1, 12));
    window.days = TRY(parse_field(fields[2], "day of the month", 1, 31));
    return {};
}

// ---- times -------------------------------------------------------------------------------------

Result<std::int32_t> parse_time(std::string_view text) {
    std::string_view left = text;
    std::array<std::int32_t, 3> parts{};
    std::size_t count = 0;
    bool is_good = true;
    while (is_good && !left.empty() && count < parts.size()) {
        std::string_view part = take_until(left, ":");
        auto value = number(part);
        is_good = value.has_value() && part.size() <= 2 && (count == 0 || part.size() == 2);
        parts[count++] = value.value_or(0);
    }
    const std::int32_t seconds = parts[0] * 3600 + parts[1] * 60 + parts[2];
    is_good = is_good && left.empty() && !text.ends_with(':') && count >= 2 && parts[0] <= 24 &&
              parts[1] <= 59 && parts[2] <= 59 && seconds <= kSecondsPerDay;
    if (!is_good) return bad("time of day", text, "write 22:00 or 22:00:30, 24:00 at the most");
    return seconds;
}

Result<> parse_times(std::string_view word, Window& window) {
    std::string_view end = word;
    std::string_view begin = take_until(end, "-");
    if (end.empty())
        return bad("window", word, "a window has a begin and an end, as in 22:00-06:00");
    window.begin = TRY(parse_time(begin));
    window.end = TRY(parse_time(end));
    if (window.begin == kSecondsPerDay) window.begin = 0;
    return {};
}

// ---- text --------------------------------------------------------------------------------------

std::string weekdays_text(std::bitset<7> days) {
    std::string out;
    for (std::size_t day = 0; day < 7; ++day) {
        if (!days[day]) continue;
        std::size_t last = day;
        while (last + 1 < 7 && days[last + 1]) ++last;
        if (!out.empty()) out += ',';
        out += kShortWeekdays[day];
        if (last > day) {
            out += last == day + 1 ? "," : "..";
            out += kShortWeekdays[last];
        }
        day = last;
    }
    return out;
}

std::string field_text(const std::vector<Window::Range>& ranges) {
    if (ranges.empty()) return "*";
    std::string out;
    for (const Window::Range& range : ranges) {
        if (!out.empty()) out += ',';
        out += std::to_string(range.first);
        if (range.last != range.first) out += ".." + std::to_string(range.last);
    }
    return out;
}

std::string time_text(std::int32_t seconds) {
    char out[16];
    if (seconds % 60 == 0)
        std::snprintf(out, sizeof out, "%02d:%02d", seconds / 3600, seconds / 60 % 60);
    else
        std::snprintf(out, sizeof out, "%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60,
                      seconds % 60);
    return out;
}

}  // namespace

Result<std::uint64_t> parse_rate(std::string_view text) {
    if (text == "off") return std::uint64_t{0};
    std::string_view size = text;
    if (size.ends_with("/s")) size.remove_suffix(2);
    Result<std::uint64_t> bytes = parse_size(size);
    if (!bytes.ok()) return bad("rate", text, "write a size per second, as in 2MiB/s, or off");
    return bytes;
}

Result<Window> parse_window(std::string_view text) {
    std::vector<std::string_view> words = words_of(text);
    Window window;
    if (words.size() >= 2 && lower(words[words.size() - 2]) == "at") {
        window.bytes_per_second = TRY(parse_rate(words.back()));
        if (window.bytes_per_second == 0)
            return bad("rate", words.back(), "leave 'at' away for no limit");
        words.resize(words.size() - 2);
    }
    if (words.empty())
        return bad("window", text, "write something like 'Mon..Fri 22:00-06:00' or 'daily'");
    std::size_t next = 0;
    auto has_more = [&] { return next < words.size(); };
    if (lower(words[next]) == "daily")
        ++next;
    else if (is_weekdays(words[next]))
        window.weekdays = TRY(parse_weekdays(words[next++]));
    if (has_more() && words[next].find(':') == std::string_view::npos)
        TRY(parse_dates(words[next++], window));
    if (has_more()) TRY(parse_times(words[next++], window));
    if (has_more())
        return bad("part of a window", words[next],
                   "the order is weekdays, dates, begin-end, at RATE");
    return window;
}

std::string format_window(const Window& window) {
    std::string out;
    auto add = [&](const std::string& word) {
        if (!out.empty()) out += ' ';
        out += word;
    };
    if (!window.weekdays.all()) add(weekdays_text(window.weekdays));
    if (!window.years.empty() || !window.months.empty() || !window.days.empty())
        add((window.years.empty() ? "" : field_text(window.years) + "-") +
            field_text(window.months) + "-" + field_text(window.days));
    if (window.begin != 0 || window.end != kSecondsPerDay)
        add(time_text(window.begin) + "-" + time_text(window.end));
    if (out.empty()) out = "daily";
    if (window.bytes_per_second != 0) add("at " + format_size(window.bytes_per_second) + "/s");
    return out;
}

}  // namespace backup
