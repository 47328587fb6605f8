#include "daemon/policy/toml_document.h"

#include <algorithm>
#include <exception>
#include <stdexcept>

namespace {
[[noreturn]] void stop_parsing() {
    throw std::logic_error("this is no TOML, here or some lines before");
}
}  // namespace
// toml++ 3.3 meets some broken text ("[" at the end of a line) with an assertion, or in its
// compiled library with an assumption. Built from its headers, its assertions can end the parsing
// instead of the process.
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

// The line in which a key has too many parts, or 0. Looks at anything that could be a dotted key.
unsigned line_of_deep_key(std::string_view text) {
    unsigned line = 1;
    int dots = 0;
    for (char c : text) {
        if (c == '\n') ++line;
        const bool part = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == ' ' || c == '\t' ||
                          c == '"' || c == '\'';
        if (c == '.') {
            if (++dots > kMostDots) return line;
        } else if (!part) {
            dots = 0;
        }
    }
    return 0;
}

// The line of a "[" that begins a table but has no name behind it, or 0.
unsigned line_of_nameless_table(std::string_view text) {
    for (unsigned line = 1; !text.empty(); ++line) {
        const auto end = std::min(text.find('\n'), text.size());
        std::string_view rest = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (rest.ends_with('\r')) rest.remove_suffix(1);
        const auto begin = std::min(rest.find_first_not_of(" \t"), rest.size());
        rest.remove_prefix(begin);
        if (rest == "[" || rest == "[[") return line;
    }
    return 0;
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
    if (const unsigned line = line_of_deep_key(text))
        return TomlProblem{line, "a key with too many parts"};
    try {
        const toml::table table = toml::parse(text);
        root = convert(table);
        return std::nullopt;
    } catch (const toml::parse_error& error) {
        return TomlProblem{error.source().begin.line, std::string(error.description())};
    } catch (const std::exception& error) {
        return TomlProblem{line_of_nameless_table(text), error.what()};
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
