// A TOML document as plain values with line numbers: the one door to toml++. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace backup {

struct TomlMember;

struct TomlValue {
    enum class Kind : std::uint8_t { text, integer, number, boolean, time, list, table };
    Kind kind = Kind::table;
    unsigned line = 0;
    std::string text;
    std::int64_t integer = 0;
    bool boolean = false;
    std::vector<TomlValue> list;
    std::vector<TomlMember> members;  // of a table, sorted by line
};
struct TomlMember {
    std::string key;
    unsigned line = 0;
    TomlValue value;
};
// "a text", "a whole number", ... for messages.
std::string_view to_string(TomlValue::Kind kind);

struct TomlProblem {
    unsigned line = 0;
    std::string message;
};

// Nothing and the document in `root`, or what is wrong.
std::optional<TomlProblem> parse_toml(std::string_view text, TomlValue& root);

// `text` as a TOML string, quoted. Must be UTF-8.
std::string toml_quoted(std::string_view text);

}  // namespace backup
