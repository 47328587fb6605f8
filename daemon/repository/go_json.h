// JSON strings exactly as Go's encoding/json writes them, for everything that must be
// byte-identical with restic's. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace backup {

// Two rules of serialisation depend on the Go release that built restic (its Unicode tables and its
// JSON encoder).
enum class GoRules : std::uint8_t {
    go119,  // Unicode 13, \u0008 and \u000c: restic up to 0.16
    go122,  // Unicode 15, \b and \f: restic from 0.17
};

// Appends `text` as a JSON string, with its quotes. Each byte that is not part of valid UTF-8
// becomes \ufffd.
void append_go_json_string(std::string& out, std::string_view text, GoRules rules);
std::string go_json_string(std::string_view text, GoRules rules = GoRules::go122);

// Bytes in the valid UTF-8 sequence at the start of `text`, 0 if there is none (overlong forms,
// surrogates and values above 10FFFF are invalid). `text` must not be empty.
std::size_t utf8_sequence_length(std::string_view text);

}  // namespace backup
