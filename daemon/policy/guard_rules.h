// Rules of a set's guard as one line of text: "gone=50 removed=30 changed=off", as people type them
// and as they travel on the bus. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

struct GuardRuleName {
    std::string_view name;
    std::uint32_t GuardRules::*member;
    std::uint32_t most;
};
inline constexpr GuardRuleName kGuardRules[] = {
    {"gone", &GuardRules::gone, 100},         {"removed", &GuardRules::removed, 100},
    {"changed", &GuardRules::changed, 100},   {"opaque", &GuardRules::opaque, 100},
    {"least", &GuardRules::least, 1'000'000},
};

// Words are separated by spaces or commas. "" and "default": as they are without any; "off":
// nothing is asked but about paths that are missing. `invalid` names the word.
Result<GuardRules> parse_guard_rules(std::string_view text);
// "default" when all are.
std::string format_guard_rules(const GuardRules& rules);

}  // namespace backup
