#include "daemon/policy/toml_document.h"

#include <algorithm>
#include <exception>
#include <stdexcept>

namespace {
[[noreturn]] void stop_parsing() {
    throw std::logic_error("this is no TOML, here or some lines before");
}
}  // namespace
// toml++ 3.3 meets some broken text with an assertion, or in its compiled library with an
// assumption. Built from its headers, its assertions can end the parsing instead of the process.
#undef NDEBUG
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(expression) ((expression) ? void() : stop_parsing())
#include <toml++/toml.h>

namespace backup {

namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;
// toml++ builds and frees one level of tables per part of a dotted key, recursively; values have a
// limit of their own.
constexpr int kMostDots = 64;

TomlValue convert(const toml::node& node) {
    TomlValue value;
    value.line = node.source().begin.line;
    switch (node.type()) {
        case toml::node_type::none:
        case toml::node_type::table:
            for (const auto& [key, member] : *node.as_table()) {
                value.members.push_back(
                    {std::string(key.str()), key.source().begin.line, convert(member)});
            }
            std::stable_sort(
                value.members.begin(), value.members.end(),
                [](const TomlMember& a, const TomlMember& b) { return a.line < b.line; });
            break;
        case toml::node_type::array:
            value.kind = TomlValue::Kind::list;
            for (const toml::node& element : *node.as_array())
                value.list.push_back(convert(element));
            break;
        case toml::node_type::string:
            value.kind = TomlValue::Kind::text;
            value.text = node.as_string()->get();
            break;
        case toml::node_type::integer:
            value.kind = TomlValue::Kind::integer;
            value.integer = node.as_integer()->get();
            break;
        case toml::node_type::floating_point:
            value.kind = TomlValue::Kind::number;
            break;
        case toml::node_type::boolean:
            value.kind = TomlValue::Kind::boolean;
            value.boolean = node.as_boolean()->get();
            break;
        case toml::node_type::date:
        case toml::node_type::time:
        case toml::node_type::date_time:
            value.kind = TomlValue::Kind::time;
            break;
    }
    return value;
}

// Where the string ends that begins with the quote at `at`: behind its other quote, or at the end
// of the line.
std::size_t end_of_string(std::string_view text, std::size_t at) {
    const char quote = text[at++];
    while (at < text.size() && text[at] != '\n') {
        if (text[at] == quote) return at + 1;
        const bool escape =
            quote == '"' && text[at] == '\\' && at + 1 < text.size() && text[at + 1] != '\n';
        at += escape ? 2 : 1;
    }
    return at;
}

bool is_ascii(std::string_view text) {
    return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

// What toml++ must not be given: keys with so many parts that their tables overflow the stack;
// characters beyond ASCII outside of strings and comments, whose class it decides by undefined
// behaviour; a "[" that nothing follows.
std::optional<TomlProblem> refuse(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    unsigned line = 1;
    int dots = 0;
    bool line_begins = true;
    char before = '\n';  // the last that is not blank
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at];
        if (c == '"' || c == '\'') {
            // Elsewhere it is part of a broken value to toml++, and no string begins.
            if (std::string_view("\n=,[{.").find(before) == std::string_view::npos)
                return TomlProblem{line, "a quote in the middle of a value"};
            const bool is_part = before == '.';  // of a key, or of a broken number
            line_begins = false;
            before = c;
            // Long strings only where a value may stand, two strings elsewhere: not worth telling
            // apart.
            if (text.substr(at).starts_with(std::string(3, c))) {
                return TomlProblem{line, "texts of several lines are not used here"};
            }
            const std::size_t end = end_of_string(text, at);
            if (is_part && !is_ascii(text.substr(at, end - at)))
                return TomlProblem{line, "a part of a key that is not ASCII"};
            at = end;
            continue;
        }
        if (c == '#') {
            at = std::min(text.find('\n', at), text.size());
            continue;
        }
        if (static_cast<unsigned char>(c) >= 0x80) {
            return TomlProblem{line, "a character outside of quotes that is not ASCII"};
        }
        if (c == '[' && line_begins) {
            const auto rest = text.find_first_not_of("[ \t\r", at);
            if (rest == std::string_view::npos || text[rest] == '\n') {
                return TomlProblem{line, "\"[\" without a name behind it"};
            }
        }
        if (c == '.' && ++dots > kMostDots) return TomlProblem{line, "a key with too many parts"};
        const bool is_blank = c == ' ' || c == '\t';
        const bool in_key = is_blank || c == '.' || c == '_' || c == '-' ||
                            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                            (c >= 'A' && c <= 'Z');
        if (!in_key) dots = 0;
        if (!is_blank) line_begins = c == '\n';
        if (!is_blank && c != '\r') before = c;
        if (c == '\n') ++line;
        ++at;
    }
    return std::nullopt;
}

}  // namespace

std::string_view to_string(TomlValue::Kind kind) {
    switch (kind) {
        case TomlValue::Kind::text:
            return "a text";
        case TomlValue::Kind::integer:
            return "a whole number";
        case TomlValue::Kind::number:
            return "a number with a fraction";
        case TomlValue::Kind::boolean:
            return "true or false";
        case TomlValue::Kind::time:
            return "a time";
        case TomlValue::Kind::list:
            return "a list";
        case TomlValue::Kind::table:
            return "a table";
    }
    return "";
}

std::optional<TomlProblem> parse_toml(std::string_view text, TomlValue& root) {
    if (text.size() > kMostBytes) return TomlProblem{0, "the file is larger than 1 MiB"};
    if (auto problem = refuse(text)) return problem;
    try {
        const toml::table table = toml::parse(text);
        root = convert(table);
        return std::nullopt;
    } catch (const toml::parse_error& error) {
        return TomlProblem{error.source().begin.line, std::string(error.description())};
    } catch (const std::exception& error) {
        return TomlProblem{0, error.what()};
    }
}

std::string toml_quoted(std::string_view text) {
    constexpr char kHexDigits[] = "0123456789abcdef";
    std::string out = "\"";
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        switch (c) {
            case '"':
                out += "\\\"";
                continue;
            case '\\':
                out += "\\\\";
                continue;
            case '\n':
                out += "\\n";
                continue;
            case '\t':
                out += "\\t";
                continue;
        }
        if (byte < 0x20 || byte == 0x7f) {
            out += "\\u00";
            out += kHexDigits[byte >> 4];
            out += kHexDigits[byte & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

}  // namespace backup
