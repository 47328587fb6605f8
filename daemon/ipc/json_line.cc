#include "daemon/ipc/json_line.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/path.h"
#include "common/wire.h"

namespace backup {

void append_json_string(std::string& to, std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    to += '"';
    for (char c : text) {
        auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            to += '\\';
            to += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            to += "\\u00";
            to += digits[byte >> 4];
            to += digits[byte & 15];
        } else {
            to += c;
        }
    }
    to += '"';
}

void JsonLine::key(std::string_view key) {
    line_ += line_.empty() ? '{' : ',';
    append_json_string(line_, key);
    line_ += ':';
}

JsonLine& JsonLine::text(std::string_view name, std::string_view value) {
    key(name);
    if (is_utf8(value))
        append_json_string(line_, value);
    else
        append_json_string(line_, printable(value));
    return *this;
}

JsonLine& JsonLine::name(std::string_view name, std::string_view bytes) {
    if (is_utf8(bytes)) {
        key(name);
        append_json_string(line_, bytes);
    } else {
        key(std::string(name) + "_b64");
        append_json_string(line_, to_base64(as_bytes(bytes)));
    }
    return *this;
}

JsonLine& JsonLine::number(std::string_view name, std::uint64_t value) {
    key(name);
    line_ += std::to_string(value);
    return *this;
}

JsonLine& JsonLine::signed_number(std::string_view name, std::int64_t value) {
    key(name);
    line_ += std::to_string(value);
    return *this;
}

JsonLine& JsonLine::boolean(std::string_view name, bool value) {
    key(name);
    line_ += value ? "true" : "false";
    return *this;
}

JsonLine& JsonLine::null(std::string_view name) {
    key(name);
    line_ += "null";
    return *this;
}

JsonLine& JsonLine::counts(std::string_view name,
                           const std::vector<std::pair<std::string, std::uint64_t>>& values) {
    key(name);
    line_ += '{';
    bool first = true;
    for (const auto& [word, value] : values) {
        if (!std::exchange(first, false)) line_ += ',';
        std::string with_underscores = word;
        std::ranges::replace(with_underscores, '-', '_');
        append_json_string(line_, with_underscores);
        line_ += ':';
        line_ += std::to_string(value);
    }
    line_ += '}';
    return *this;
}

std::string_view JsonLine::finish() {
    if (line_.empty()) line_ = "{";
    line_ += "}\n";
    return line_;
}

std::string end_line(std::uint64_t count) {
    JsonLine line;
    return std::string(line.boolean("end", true).number("count", count).finish());
}

std::string end_line(const Error& error) {
    JsonLine line;
    return std::string(line.boolean("end", true)
                           .text("error", wire::error_name(error))
                           .text("message", error.message())
                           .finish());
}

}  // namespace backup
