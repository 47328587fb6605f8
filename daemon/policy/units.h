// Sizes and times as people write them in configuration: "16MiB", "1.5 GB", "1h 30min". Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

// Bytes. Units: B, then KiB MiB GiB TiB PiB (also K M G T P) by 1024, kB MB GB TB PB by 1000.
// `invalid` for other text and for what does not fit.
Result<std::uint64_t> parse_size(std::string_view text);
// The shortest text that parse_size() reads back to exactly this.
std::string format_size(std::uint64_t bytes);

// Seconds. Units: s sec, m min, h, d, w; several may follow each other. "off" and "0" are 0.
Result<std::uint64_t> parse_interval(std::string_view text);
std::string format_interval(std::uint64_t seconds);

// The words of a line of rules, "last=10, daily=7": divided by spaces or commas, each a name, "="
// and a value, given to `each`, whose first error ends it. A word without "=" is an `invalid` error
// by `bad_word`, which says what is known.
struct RuleWord {
    std::string_view text, name, value;
};
Result<> each_rule_word(std::string_view line, const std::function<Result<>(const RuleWord&)>& each,
                        const std::function<Error(std::string_view word)>& bad_word);
// A number and nothing else, up to `most`.
std::optional<std::uint32_t> parse_count(std::string_view text, std::uint32_t most);

// Milliseconds, for short times: as an interval, and "ms". "1.5s" is 1500.
Result<std::uint64_t> parse_short_interval(std::string_view text);
std::string format_short_interval(std::uint64_t milliseconds);

}  // namespace backup
