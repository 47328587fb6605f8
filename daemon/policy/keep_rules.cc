#include "daemon/policy/keep_rules.h"

#include <charconv>

#include "common/path.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

Error bad_word(std::string_view word) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(word) +
                     "' is no rule; known are last=N hourly=N daily=N weekly=N monthly=N yearly=N "
                     "within=TIME tag=TAG minimum=N");
}

Result<> read_word(std::string_view word, KeepRules& rules) {
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) return bad_word(word);
    const std::string_view name = word.substr(0, equals), value = word.substr(equals + 1);
    if (name == "within") {
        auto span = parse_interval(value);
        if (!span.ok()) return bad_word(word);
        rules.within_seconds = *span;
        return {};
    }
    if (name == "tag") {
        if (value.empty()) return bad_word(word);
        rules.tags.emplace_back(value);
        return {};
    }
    for (const KeepCount& count : kKeepCounts) {
        if (count.name != name) continue;
        std::uint32_t number = 0;
        auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (problem != std::errc{} || end != value.data() + value.size() || number > kMostKept)
            return bad_word(word);
        rules.*count.member = number;
        return {};
    }
    return bad_word(word);
}

}  // namespace

Result<KeepRules> parse_keep_rules(std::string_view text) {
    KeepRules rules;
    if (text == "none") return rules;
    while (!text.empty()) {
        const std::size_t end = text.find_first_of(" ,");
        const std::string_view word = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (!word.empty()) TRY(read_word(word, rules));
    }
    return rules;
}

std::string format_keep_rules(const KeepRules& rules) {
    if (!rules.any() && rules.minimum == KeepRules{}.minimum) return "none";
    std::string text;
    auto add = [&](std::string_view name, const std::string& value) {
        text += (text.empty() ? "" : " ") + std::string(name) + "=" + value;
    };
    for (const KeepCount& count : kKeepCounts) {
        const std::uint32_t value = rules.*count.member;
        if (value != KeepRules{}.*count.member) add(count.name, std::to_string(value));
    }
    if (rules.within_seconds != 0) {
        std::string span = format_interval(rules.within_seconds);
        std::erase(span, ' ');
        add("within", span);
    }
    for (const std::string& tag : rules.tags) add("tag", tag);
    return text;
}

}  // namespace backup
