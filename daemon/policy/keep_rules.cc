#include "daemon/policy/keep_rules.h"

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

Result<> read_word(const RuleWord& word, KeepRules& rules) {
    if (word.name == "within") {
        auto span = parse_interval(word.value);
        if (!span.ok()) return bad_word(word.text);
        rules.within_seconds = *span;
        return {};
    }
    if (word.name == "tag") {
        if (word.value.empty()) return bad_word(word.text);
        rules.tags.emplace_back(word.value);
        return {};
    }
    for (const KeepCount& count : kKeepCounts) {
        if (count.name != word.name) continue;
        auto number = parse_count(word.value, kMostKept);
        if (!number) return bad_word(word.text);
        rules.*count.member = *number;
        return {};
    }
    return bad_word(word.text);
}

}  // namespace

Result<KeepRules> parse_keep_rules(std::string_view text) {
    KeepRules rules;
    if (text == "none") return rules;
    TRY(each_rule_word(
        text, [&](const RuleWord& word) { return read_word(word, rules); }, bad_word));
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
