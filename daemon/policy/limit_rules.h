// Limits of a set as one line of text: "items=1000000 items-warn=800000 bytes=500GiB churn=20GiB",
// as people type them and as they travel on the bus. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

struct LimitName {
    std::string_view name;
    Limit Limits::*member;
    bool is_size;  // bytes, else a number
};
inline constexpr LimitName kLimits[] = {
    {"items", &Limits::items, false},         {"bytes", &Limits::bytes, true},
    {"file", &Limits::file_bytes, true},      {"churn", &Limits::churn_bytes, true},
    {"revisions", &Limits::revisions, false},
};
// Behind a name: the value from which on a run warns.
inline constexpr std::string_view kWarnSuffix = "-warn";

// "" and "none": no limits. `invalid` names the word.
Result<Limits> parse_limits(std::string_view text);
// "none" without any.
std::string format_limits(const Limits& limits);
std::string format_limit(const LimitName& name, std::uint64_t value);

}  // namespace backup
