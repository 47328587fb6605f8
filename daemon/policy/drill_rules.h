// What a drill of a set gives back for a try, and how often; as values and as one line of text,
// "every=7d files=64 bytes=256MiB", as people type it and as it travels on the bus. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

struct DrillRules {
    std::uint64_t every_seconds = 7 * 86'400;        // 0: when asked
    std::uint32_t files = 64;                        // so many, chosen at random
    std::uint64_t bytes = std::uint64_t{256} << 20;  // together; larger files are passed over
    bool operator==(const DrillRules&) const = default;
};
inline constexpr std::uint32_t kMostDrilled = 100'000;  // files

// Words are separated by spaces or commas. "" and "default": as it is without any; "off": only when
// asked. `invalid` names the word.
Result<DrillRules> parse_drill_rules(std::string_view text);
// "default" when all are.
std::string format_drill_rules(const DrillRules& rules);

class ConfigTable;
struct LoadedPolicy;
// The table [drill] of a set's file, and the text of it: only what is not at its default.
void read_drill(ConfigTable& set, const std::string& file, LoadedPolicy& into, DrillRules& out);
std::string drill_body(const DrillRules& rules);

}  // namespace backup
