#include "daemon/policy/guard_rules.h"

#include <charconv>

#include "common/path.h"

namespace backup {

namespace {

Error bad_word(std::string_view word) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(word) +
                     "' is no rule; known are gone=PERCENT removed=PERCENT changed=PERCENT "
                     "opaque=PERCENT (0 to 100, or off) and least=FILES");
}

Result<> read_word(std::string_view word, GuardRules& rules) {
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) return bad_word(word);
    const std::string_view name = word.substr(0, equals), value = word.substr(equals + 1);
    for (const GuardRuleName& rule : kGuardRules) {
        if (rule.name != name) continue;
        std::uint32_t number = 0;
        if (value != "off" || name == "least") {
            auto [end, problem] =
                std::from_chars(value.data(), value.data() + value.size(), number);
            if (problem != std::errc{} || end != value.data() + value.size() || number > rule.most)
                return bad_word(word);
        }
        rules.*rule.member = number;
        return {};
    }
    return bad_word(word);
}

}  // namespace

Result<GuardRules> parse_guard_rules(std::string_view text) {
    GuardRules rules;
    if (text == "default") return rules;
    if (text == "off") {
        rules.gone = rules.removed = rules.changed = rules.opaque = 0;
        return rules;
    }
    while (!text.empty()) {
        const std::size_t end = text.find_first_of(" ,");
        const std::string_view word = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (!word.empty()) TRY(read_word(word, rules));
    }
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
