#include "daemon/policy/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "common/path.h"

namespace backup {

namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::uint64_t kKi = 1024, kK = 1000;
constexpr std::array<Unit, 18> kSizes = {{
    {"", 1},
    {"B", 1},
    {"K", kKi},
    {"KiB", kKi},
    {"kB", kK},
    {"KB", kK},
    {"M", kKi* kKi},
    {"MiB", kKi* kKi},
    {"MB", kK* kK},
    {"G", kKi* kKi* kKi},
    {"GiB", kKi* kKi* kKi},
    {"GB", kK* kK* kK},
    {"T", kKi* kKi* kKi* kKi},
    {"TiB", kKi* kKi* kKi* kKi},
    {"TB", kK* kK* kK* kK},
    {"P", kKi* kKi* kKi* kKi* kKi},
    {"PiB", kKi* kKi* kKi* kKi* kKi},
    {"PB", kK* kK* kK* kK* kK},
}};
constexpr std::array<Unit, 7> kTimes = {
    {{"s", 1}, {"sec", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}}};
constexpr std::array<Unit, 8> kShortTimes = {{{"ms", 1},
                                              {"s", 1000},
                                              {"sec", 1000},
                                              {"m", 60'000},
                                              {"min", 60'000},
                                              {"h", 3'600'000},
                                              {"d", 86'400'000},
                                              {"w", 604'800'000}}};

void skip_space(std::string_view& text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// A number, perhaps with a fraction, and a unit; taken from the front of `text`. False when there
// is none or it does not fit.
template <std::size_t N>
bool take(std::string_view& text, const std::array<Unit, N>& units, std::uint64_t& out) {
    std::size_t digits = 0;
    while (digits < text.size() && is_digit(text[digits])) ++digits;
    std::uint64_t whole = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + digits, whole);
    if (digits == 0 || parsed.ec != std::errc{}) return false;
    text.remove_prefix(digits);
    double fraction = 0;
    if (text.starts_with('.')) {
        double place = 1;
        text.remove_prefix(1);
        if (text.empty() || !is_digit(text.front())) return false;
        for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
            fraction += (place /= 10) * (text.front() - '0');
        }
    }
    skip_space(text);
    std::size_t letters = 0;
    while (letters < text.size() &&
           ((text[letters] | 0x20) >= 'a' && (text[letters] | 0x20) <= 'z'))
        ++letters;
    const std::string_view name = text.substr(0, letters);
    text.remove_prefix(letters);
    skip_space(text);
    for (const Unit& unit : units) {
        if (unit.name != name) continue;
        if (whole > std::numeric_limits<std::uint64_t>::max() / unit.factor) return false;
        const auto rest =
            static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(unit.factor)));
        out = whole * unit.factor;
        if (rest > std::numeric_limits<std::uint64_t>::max() - out) return false;
        out += rest;
        return true;
    }
    return false;
}

// Parts added up, or nothing when one of them is no time or the sum is over `most`.
template <std::size_t N>
std::optional<std::uint64_t> take_all(std::string_view text, const std::array<Unit, N>& units,
                                      std::uint64_t most) {
    if (text == "off" || text == "0") return 0;
    std::string_view rest = text;
    skip_space(rest);
    if (rest.empty()) return std::nullopt;
    std::uint64_t sum = 0;
    while (!rest.empty()) {
        std::uint64_t part = 0;
        if (!take(rest, units, part) || part > most || sum + part > most) return std::nullopt;
        sum += part;
    }
    return sum;
}

// Largest units first; what remains of the last is lost, so that one must be 1.
template <std::size_t N>
std::string in_parts(std::uint64_t value, const Unit (&units)[N]) {
    if (value == 0) return "off";
    std::string text;
    for (const Unit& unit : units) {
        if (value < unit.factor) continue;
        if (!text.empty()) text += ' ';
        text += std::to_string(value / unit.factor) + std::string(unit.name);
        value %= unit.factor;
    }
    return text;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
    std::string_view rest = text;
    skip_space(rest);
    std::uint64_t bytes = 0;
    if (!take(rest, kSizes, bytes) || !rest.empty()) {
        return Error(
            ErrorKind::invalid, ErrorCode::invalid_arguments,
            "\"" + printable(text) + "\" is no size; write it like \"16MiB\" or \"1.5GB\"");
    }
    return bytes;
}

std::string format_size(std::uint64_t bytes) {
    std::uint64_t unit = 1;
    std::size_t step = 0;
    constexpr std::string_view kNames[] = {"", "KiB", "MiB", "GiB", "TiB", "PiB"};
    while (bytes != 0 && step + 1 < std::size(kNames) && bytes % (unit * kKi) == 0) {
        unit *= kKi;
        ++step;
    }
    return std::to_string(bytes / unit) + std::string(kNames[step]);
}

Result<std::uint64_t> parse_interval(std::string_view text) {
    const auto seconds = take_all(text, kTimes, std::numeric_limits<std::uint32_t>::max());
    if (seconds) return *seconds;
    return Error(
        ErrorKind::invalid, ErrorCode::invalid_arguments,
        "\"" + printable(text) + "\" is no interval; write it like \"30min\", \"1h\" or \"off\"");
}

std::string format_interval(std::uint64_t seconds) {
    return in_parts(seconds, {{"w", 604800}, {"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}});
}

Result<> each_rule_word(std::string_view line, const std::function<Result<>(const RuleWord&)>& each,
                        const std::function<Error(std::string_view)>& bad_word) {
    while (!line.empty()) {
        const std::size_t end = line.find_first_of(" ,");
        const std::string_view word = line.substr(0, end);
        line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
        if (word.empty()) continue;
        const std::size_t equals = word.find('=');
        if (equals == std::string_view::npos) return bad_word(word);
        TRY(each({word, word.substr(0, equals), word.substr(equals + 1)}));
    }
    return {};
}

std::optional<std::uint32_t> parse_count(std::string_view text, std::uint32_t most) {
    std::uint32_t number = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || end != text.data() + text.size() || number > most)
        return std::nullopt;
    return number;
}

Result<std::uint64_t> parse_short_interval(std::string_view text) {
    const auto milliseconds = take_all(
        text, kShortTimes, std::uint64_t{1000} * std::numeric_limits<std::uint32_t>::max());
    if (milliseconds) return *milliseconds;
    return Error(
        ErrorKind::invalid, ErrorCode::invalid_arguments,
        "\"" + printable(text) + "\" is no time; write it like \"500ms\", \"2s\" or \"1min\"");
}

std::string format_short_interval(std::uint64_t milliseconds) {
    if (milliseconds == 0) return "0";
    return in_parts(milliseconds, {{"h", 3'600'000}, {"min", 60'000}, {"s", 1000}, {"ms", 1}});
}

}  // namespace backup
