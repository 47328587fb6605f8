// Limits of a set as one line of text, "items=200000 soft-bytes=50GiB", as people type them and as
// they travel on the bus; and as the tables [limits.soft] and [limits.hard] of its file. Pure.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/policy/config_table.h"
#include "daemon/policy/policy.h"

namespace backup {

// Words are separated by spaces or commas; a name alone is the hard limit, soft-NAME the soft one;
// "" and "none": without any. `invalid` names the word.
Result<Limits> parse_limits(std::string_view text);
std::string format_limits(const Limits& limits);  // "none" without any
// "200000" or "50GiB".
std::string format_limit(const LimitName& limit, std::uint64_t value);

// [limits]
void read_limits(ConfigTable& set, const std::string& file, LoadedPolicy& into, Limits& out);
// The tables, `prefix` before their names: "limits" or "set.NAME.limits". "" without any.
std::string limits_tables(const Limits& limits, const std::string& prefix);

}  // namespace backup
