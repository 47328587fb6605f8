// How text stands in a tree: names are quoted as by Go's strconv.Quote and then written as a JSON
// string; everything else is a JSON string. The put_ functions write to memory the caller has made
// large enough and return the end: nodes are written by the million. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/repository/go_json.h"

namespace backup {

// Go's idea of printable, which depends on the Unicode version it was built with.
bool is_go_printable(std::uint32_t rune, GoRules rules);

// What put_name() and put_text() write at most for `size` bytes.
constexpr std::size_t most_text_bytes(std::size_t size) {
    return 6 * size + 2;
}

char* put_name(char* out, std::string_view name, GoRules rules);  // with the JSON quotes
char* put_text(char* out, std::string_view text, GoRules rules);  // as go_json_string()
char* put_base64(char* out, std::string_view bytes);              // without quotes

// Undoes the quoting of a name, after the JSON string was decoded, and appends the bytes. False for
// text that no writer makes. Unprintable characters and quotes that are not quoted are taken as
// they are: rustic writes such names.
[[nodiscard]] bool append_unquoted(std::string& out, std::string_view text);

// Empty for a name that may stand in a tree, else what is wrong with it.
std::string_view name_problem(std::string_view name);

}  // namespace backup
