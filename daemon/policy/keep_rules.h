// Retention rules as one line of text: "last=10 daily=7 within=30d tag=yearly minimum=3", as people
// type them and as they travel on the bus. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

inline constexpr std::uint32_t kMostKept = 100'000;

// The rules that are numbers, by the names that they have everywhere.
struct KeepCount {
    std::string_view name;
    std::uint32_t KeepRules::*member;
};
inline constexpr KeepCount kKeepCounts[] = {
    {"last", &KeepRules::last},       {"hourly", &KeepRules::hourly},
    {"daily", &KeepRules::daily},     {"weekly", &KeepRules::weekly},
    {"monthly", &KeepRules::monthly}, {"yearly", &KeepRules::yearly},
    {"minimum", &KeepRules::minimum},
};

// Words are separated by spaces or commas. "" and "none": no rules. `invalid` names the word.
Result<KeepRules> parse_keep_rules(std::string_view text);
// "none" without rules.
std::string format_keep_rules(const KeepRules& rules);

}  // namespace backup
