#include "daemon/policy/guard_rules.h"

#include "common/path.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

Error bad_word(std::string_view word) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(word) +
                     "' is no rule; known are gone=PERCENT removed=PERCENT changed=PERCENT "
                     "opaque=PERCENT (0 to 100, or off) and least=FILES");
}

Result<> read_word(const RuleWord& word, GuardRules& rules) {
    for (const GuardRuleName& rule : kGuardRules) {
        if (rule.name != word.name) continue;
        const bool is_off = word.value == "off" && word.name != "least";
        auto number = is_off ? 0 : parse_count(word.value, rule.most);
        if (!number) return bad_word(word.text);
        rules.*rule.member = *number;
        return {};
    }
    return bad_word(word.text);
}

}  // namespace

Result<GuardRules> parse_guard_rules(std::string_view text) {
    GuardRules rules;
    if (text == "default") return rules;
    if (text == "off") {
        rules.gone = rules.removed = rules.changed = rules.opaque = 0;
        return rules;
    }
    TRY(each_rule_word(
        text, [&](const RuleWord& word) { return read_word(word, rules); }, bad_word));
    return rules;
}

std::string format_guard_rules(const GuardRules& rules) {
    std::string text;
    for (const GuardRuleName& rule : kGuardRules) {
        const std::uint32_t value = rules.*rule.member;
        if (value == GuardRules{}.*rule.member) continue;
        const bool is_off = value == 0 && rule.name != "least";
        text += (text.empty() ? "" : " ") + std::string(rule.name) + "=" +
                (is_off ? "off" : std::to_string(value));
    }
    return text.empty() ? "default" : text;
}

}  // namespace backup
