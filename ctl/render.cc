#include "ctl/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include <time.h>

namespace backup {

namespace {

template <typename... Args>
std::string format(const char* pattern, Args... args) {
    char text[128];
    int used = std::snprintf(text, sizeof text, pattern, args...);
    return std::string(text, static_cast<std::size_t>(std::clamp(used, 0, 127)));
}

// Decodes one character of valid UTF-8; a stray byte counts as itself.
char32_t next_character(std::string_view& text) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned char first = byte(0);
    std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    length = std::min(length, text.size());
    char32_t value = length == 1 ? first : first & (0xff >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) value = value << 6 | (byte(i) & 0x3f);
    text.remove_prefix(length);
    return value;
}

int character_width(char32_t c) {
    if ((c >= 0x300 && c <= 0x36f) || c == 0x200b || c == 0x200d || c == 0xfeff ||
        (c >= 0xfe00 && c <= 0xfe0f))
        return 0;
    bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0x303e) ||
                (c >= 0x3041 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) ||
                (c >= 0xf900 && c <= 0xfaff) || (c >= 0xfe30 && c <= 0xfe6f) ||
                (c >= 0xff00 && c <= 0xff60) || (c >= 0xffe0 && c <= 0xffe6) ||
                (c >= 0x1f300 && c <= 0x1f64f) || (c >= 0x1f900 && c <= 0x1f9ff) ||
                (c >= 0x20000 && c <= 0x3fffd);
    return wide ? 2 : 1;
}

std::string head(std::string_view text, int width) {
    std::string_view rest = text;
    int used = 0;
    while (!rest.empty()) {
        std::string_view before = rest;
        used += character_width(next_character(rest));
        if (used > width) return std::string(text.substr(0, text.size() - before.size()));
    }
    return std::string(text);
}

std::string tail(std::string_view text, int width) {
    std::string_view rest = text;
    while (!rest.empty() && display_width(rest) > width) next_character(rest);
    return std::string(rest);
}

std::string pad(std::string_view text, int width, bool right) {
    int missing = width - display_width(text);
    std::string spaces(static_cast<std::size_t>(std::max(missing, 0)), ' ');
    return right ? spaces + std::string(text) : std::string(text) + spaces;
}

struct tm broken_down(std::uint64_t usec, bool utc) {
    time_t value = static_cast<time_t>(usec / 1'000'000);
    struct tm parts {};
    if (utc)
        gmtime_r(&value, &parts);
    else
        localtime_r(&value, &parts);
    return parts;
}

}  // namespace

std::string paint(std::string_view text, Tone tone, const Looks& looks) {
    if (!looks.color || tone == Tone::plain || text.empty()) return std::string(text);
    const char* code = "0";
    switch (tone) {
        case Tone::plain:
            break;
        case Tone::bold:
            code = "1";
            break;
        case Tone::dim:
            code = "2";
            break;
        case Tone::good:
            code = "32";
            break;
        case Tone::warn:
            code = "33";
            break;
        case Tone::bad:
            code = "31";
            break;
    }
    return "\033[" + std::string(code) + "m" + std::string(text) + "\033[0m";
}

int display_width(std::string_view text) {
    int width = 0;
    while (!text.empty()) width += character_width(next_character(text));
    return width;
}

std::string shorten_end(std::string_view text, int width, bool unicode) {
    if (display_width(text) <= width) return std::string(text);
    std::string ellipsis = unicode ? "…" : "...";
    int room = width - display_width(ellipsis);
    return room <= 0 ? head(text, width) : head(text, room) + ellipsis;
}

std::string shorten_middle(std::string_view text, int width, bool unicode) {
    if (display_width(text) <= width) return std::string(text);
    std::string ellipsis = unicode ? "…" : "...";
    int room = width - display_width(ellipsis);
    if (room < 2) return shorten_end(text, width, unicode);
    int left = room * 2 / 5;  // the end of a path tells more than its beginning
    std::string front = head(text, left);
    return front + ellipsis + tail(text, room - display_width(front));
}

std::string count_text(std::uint64_t count) {
    std::string digits = std::to_string(count);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
        digits.insert(static_cast<std::size_t>(at), ",");
    return digits;
}

std::string count_text(std::uint64_t count, std::string_view one, std::string_view many) {
    return count_text(count) + " " + std::string(count == 1 ? one : many);
}

std::string size_text(std::uint64_t bytes, const Looks& looks) {
    if (looks.bytes) return std::to_string(bytes);
    if (bytes < 1024) return std::to_string(bytes) + " B";
    static constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be shown as "1024.0".
    while (value >= 1023.95 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    return format(value < 99.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
}

std::string duration_text(double seconds) {
    if (seconds < 0) seconds = 0;
    if (seconds < 0.9995) return format("%.0f ms", seconds * 1000);
    if (seconds < 9.95) return format("%.1f s", seconds);
    auto whole = static_cast<std::uint64_t>(std::llround(std::min(seconds, 1e15)));
    if (whole < 60) return std::to_string(whole) + " s";
    auto two = [](std::uint64_t large, const char* large_unit, std::uint64_t small,
                  const char* small_unit) {
        std::string text = std::to_string(large) + " " + large_unit;
        if (small != 0) text += " " + std::to_string(small) + " " + small_unit;
        return text;
    };
    if (whole < 3600) return two(whole / 60, "min", whole % 60, "s");
    if (whole < 86400) return two(whole / 3600, "h", whole % 3600 / 60, "min");
    return two(whole / 86400, whole < 2 * 86400 ? "day" : "days", whole % 86400 / 3600, "h");
}

std::string age_text(Timestamp time, Timestamp now) {
    bool future = time > now;
    auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(future ? time - now : now - time).count();
    if (seconds < 5) return future ? "in a moment" : "just now";
    // What is to come is rounded: what begins in 1 h 59 min does not begin in 1 h.
    if (future && seconds >= 60)
        seconds += seconds < 3600 - 30 ? 30 : seconds < 86400 - 1800 ? 1800 : 43200;
    std::string text;
    if (seconds < 60)
        text = std::to_string(seconds) + " s";
    else if (seconds < 3600)
        text = std::to_string(seconds / 60) + " min";
    else if (seconds < 86400)
        text = std::to_string(seconds / 3600) + " h";
    else
        text = count_text(static_cast<std::uint64_t>(seconds) / 86400, "day", "days");
    return future ? "in " + text : text + " ago";
}

std::string time_text(std::uint64_t usec, const Looks& looks) {
    if (usec == 0) return "never";
    struct tm parts = broken_down(usec, looks.utc);
    char text[64];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    return std::string(text) + (looks.utc ? " UTC" : "");
}

std::string short_time_text(std::uint64_t usec, Timestamp now, const Looks& looks) {
    if (usec == 0) return "never";
    struct tm parts = broken_down(usec, looks.utc);
    struct tm today = broken_down(to_usec(now), looks.utc);
    bool same_day = parts.tm_year == today.tm_year && parts.tm_yday == today.tm_yday;
    char text[64];
    std::strftime(text, sizeof text, same_day ? "%H:%M" : "%Y-%m-%d %H:%M", &parts);
    return std::string(text) + (looks.utc ? " UTC" : "");
}

std::string wrap_words(std::string_view text, int width, int indent) {
    std::string result, line;
    auto emit = [&] {
        if (!result.empty()) result += "\n" + std::string(static_cast<std::size_t>(indent), ' ');
        result += line;
        line.clear();
    };
    while (!text.empty()) {
        std::size_t end = std::min(text.find(' '), text.size());
        std::string_view word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        int room = width - (result.empty() ? 0 : indent);
        if (width > 0 && !line.empty() && display_width(line) + 1 + display_width(word) > room)
            emit();
        if (!line.empty()) line += ' ';
        line += word;
    }
    emit();
    return result;
}

std::vector<std::string> Table::lines(const Looks& looks) const {
    constexpr int kGap = 2, kComfortable = 20, kNarrowest = 8;
    std::vector<std::size_t> shown;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
        bool used = std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) {
            return c < row.cells.size() && !row.cells[c].empty();
        });
        if (used) shown.push_back(c);
    }
    std::vector<int> widths(columns_.size(), 0);
    for (std::size_t c : shown) {
        if (looks.legend) widths[c] = display_width(columns_[c].heading);
        for (const Row& row : rows_)
            if (c < row.cells.size()) widths[c] = std::max(widths[c], display_width(row.cells[c]));
    }
    auto total = [&] {
        int sum = shown.empty() ? 0 : kGap * (static_cast<int>(shown.size()) - 1);
        for (std::size_t c : shown) sum += widths[c];
        return sum;
    };
    auto shrinks = [&](std::size_t c) {
        return columns_[c].fit == Column::Fit::shrink_middle ||
               columns_[c].fit == Column::Fit::shrink_end;
    };
    auto shrink_to = [&](int floor) {
        while (total() > looks.width) {
            std::size_t widest = columns_.size();
            for (std::size_t c : shown)
                if (shrinks(c) && widths[c] > floor &&
                    (widest == columns_.size() || widths[c] > widths[widest]))
                    widest = c;
            if (widest == columns_.size()) return;
            --widths[widest];
        }
    };
    if (looks.width > 0) {
        shrink_to(kComfortable);
        while (total() > looks.width) {
            auto last = std::find_if(shown.rbegin(), shown.rend(), [&](std::size_t c) {
                return columns_[c].fit == Column::Fit::drop;
            });
            if (last == shown.rend()) break;
            shown.erase(std::next(last).base());
        }
        shrink_to(kNarrowest);
    }
    auto line_of = [&](auto cell_text) {
        std::string line;
        for (std::size_t i = 0; i < shown.size(); ++i) {
            std::size_t c = shown[i];
            if (i > 0) line.append(kGap, ' ');
            std::string cell = cell_text(c);
            if (columns_[c].fit == Column::Fit::shrink_middle)
                cell = shorten_middle(cell, widths[c], looks.unicode);
            if (columns_[c].fit == Column::Fit::shrink_end)
                cell = shorten_end(cell, widths[c], looks.unicode);
            line += pad(cell, widths[c], columns_[c].align == Column::Align::right);
        }
        while (!line.empty() && line.back() == ' ') line.pop_back();
        return line;
    };
    std::vector<std::string> lines;
    if (looks.legend && !rows_.empty())
        lines.push_back(
            paint(line_of([&](std::size_t c) { return columns_[c].heading; }), Tone::bold, looks));
    for (const Row& row : rows_)
        lines.push_back(paint(line_of([&](std::size_t c) {
                                  return c < row.cells.size() ? row.cells[c] : std::string();
                              }),
                              row.tone, looks));
    return lines;
}

std::string left_text(double from, double to) {
    from = std::max(from, 0.0);
    to = std::max(to, from);
    if (to < 1.5) return "1 s left";
    double unit = to < 90 ? 1 : to < 90 * 60 ? 60 : 3600;
    const char* name = unit == 1 ? "s" : unit == 60 ? "min" : "h";
    auto low = static_cast<std::uint64_t>(std::max(1.0, std::floor(from / unit)));
    auto high = static_cast<std::uint64_t>(std::max(1.0, std::ceil(to / unit)));
    std::string text =
        low == high ? std::to_string(low) : std::to_string(low) + "-" + std::to_string(high);
    return text + " " + name + " left";
}

std::string progress_line(const ProgressFacts& facts, const Looks& looks, bool bar) {
    struct Part {
        std::string text;
        int need;  // the lower, the sooner it goes
    };
    std::vector<Part> parts;
    bool known = facts.fraction >= 0;
    parts.push_back({facts.name, 9});
    if (!known) parts.push_back({facts.phase.empty() ? "working" : facts.phase, 8});
    if (known) {
        double fraction = std::min(facts.fraction, 1.0);
        if (bar) {
            constexpr int kCells = 20;
            int full = static_cast<int>(fraction * kCells);
            std::string cells;
            for (int i = 0; i < kCells; ++i)
                cells += i < full ? (looks.unicode ? "█" : "#") : (looks.unicode ? "░" : "-");
            parts.push_back({looks.unicode ? cells : "[" + cells + "]", 4});
        }
        parts.push_back({format("%3d %%", static_cast<int>(fraction * 100)), 10});
    }
    if (facts.bytes_total > 0 && known)
        parts.push_back(
            {size_text(facts.bytes_done, looks) + " of " + size_text(facts.bytes_total, looks), 6});
    else if (facts.bytes_done > 0)
        parts.push_back({size_text(facts.bytes_done, looks), 6});
    if (facts.items_done > 0) parts.push_back({count_text(facts.items_done, "item", "items"), 2});
    if (facts.rate >= 1)
        parts.push_back({size_text(static_cast<std::uint64_t>(facts.rate), looks) + "/s", 5});
    if (facts.seconds_left)
        parts.push_back({left_text(facts.seconds_left->first, facts.seconds_left->second), 7});
    if (facts.errors > 0) parts.push_back({count_text(facts.errors, "exception", "exceptions"), 3});
    auto joined = [&] {
        std::string line;
        for (const auto& part : parts) line += (line.empty() ? "" : "  ") + part.text;
        return line;
    };
    // One column stays free, or some terminals wrap.
    while (looks.width > 0 && parts.size() > 1 && display_width(joined()) >= looks.width)
        parts.erase(std::min_element(parts.begin(), parts.end(),
                                     [](const Part& a, const Part& b) { return a.need < b.need; }));
    std::string line = joined();
    return looks.width > 0 ? shorten_end(line, looks.width - 1, looks.unicode) : line;
}

void EtaEstimator::sample(double now, std::uint64_t done, std::uint64_t total) {
    total_ = total;
    if (begin_ < 0 || done < done_) {
        begin_ = last_ = now;
        first_done_ = done_ = done;
        quick_ = slow_ = 0;
        return;
    }
    double elapsed = now - last_;
    if (elapsed < 0.2) return;
    double current = static_cast<double>(done - done_) / elapsed;
    // A mean over all so far until the window is full, then exponential with 5 s and 30 s.
    double age = now - begin_;
    auto blend = [&](double old, double window) {
        double weight = 1 - std::exp(-elapsed / std::min(window, std::max(age, elapsed)));
        return old + (current - old) * weight;
    };
    bool first = quick_ == 0 && slow_ == 0;
    quick_ = first ? current : blend(quick_, 5);
    slow_ = first ? current : blend(slow_, 30);
    last_ = now;
    done_ = done;
}

double EtaEstimator::rate() const {
    return quick_;
}

std::optional<std::pair<double, double>> EtaEstimator::left() const {
    constexpr double kWarmUp = 2;  // seconds before a guess is worth showing
    if (begin_ < 0 || last_ - begin_ < kWarmUp || total_ <= done_) return std::nullopt;
    double mean = static_cast<double>(done_ - first_done_) / (last_ - begin_);
    auto [slowest, fastest] = std::minmax({quick_, slow_, mean});
    if (slowest < 1) return std::nullopt;
    double todo = static_cast<double>(total_ - done_);
    return std::pair{todo / fastest * 0.9, todo / slowest * 1.15};
}

}  // namespace backup
