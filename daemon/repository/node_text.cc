#include "daemon/repository/node_text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <span>

namespace backup {

namespace {

#include "daemon/repository/printable_tables.inc"

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Bytes that both encodings copy as they are.
constexpr std::array<bool, 256> make_plain_table() {
    std::array<bool, 256> plain{};
    for (unsigned c = 0x20; c < 0x7f; ++c) {
        plain[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
    }
    return plain;
}
constexpr std::array<bool, 256> kPlain = make_plain_table();

char* put(char* out, std::string_view text) {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
}

char* put_hex(char* out, std::uint32_t value, int digits) {
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
        *out++ = kHexDigits[value >> shift & 15];
    return out;
}

std::uint32_t rune_of(std::string_view sequence) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]) & 0x3fu; };
    const auto first = static_cast<unsigned char>(sequence[0]);
    switch (sequence.size()) {
        case 1:
            return first;
        case 2:
            return (first & 0x1fu) << 6 | at(1);
        case 3:
            return (first & 0x0fu) << 12 | at(1) << 6 | at(2);
    }
    return (first & 0x07u) << 18 | at(1) << 12 | at(2) << 6 | at(3);
}

void append_rune(std::string& out, std::uint32_t rune) {
    const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (rune >> shift & 0x3f)); };
    if (rune < 0x80) {
        out += static_cast<char>(rune);
    } else if (rune < 0x800) {
        out += static_cast<char>(0xc0 | rune >> 6);
        tail(0);
    } else if (rune < 0x10000) {
        out += static_cast<char>(0xe0 | rune >> 12);
        tail(6);
        tail(0);
    } else {
        out += static_cast<char>(0xf0 | rune >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

// One character of a name, quoted and then escaped: every backslash of the quoting is doubled by
// JSON.
char* put_quoted_ascii(char* out, unsigned char c) {
    switch (c) {
        case '"':
            return put(out, R"(\\\")");
        case '\\':
            return put(out, R"(\\\\)");
        case '<':
        case '>':
        case '&':
            return put_hex(put(out, R"(\u)"), c, 4);
        case '\a':
            return put(out, R"(\\a)");
        case '\b':
            return put(out, R"(\\b)");
        case '\f':
            return put(out, R"(\\f)");
        case '\n':
            return put(out, R"(\\n)");
        case '\r':
            return put(out, R"(\\r)");
        case '\t':
            return put(out, R"(\\t)");
        case '\v':
            return put(out, R"(\\v)");
    }
    return put_hex(put(out, R"(\\x)"), c, 2);  // controls and 7f
}

char* put_escaped_ascii(char* out, unsigned char c, GoRules rules) {
    switch (c) {
        case '"':
            return put(out, R"(\")");
        case '\\':
            return put(out, R"(\\)");
        case '\n':
            return put(out, R"(\n)");
        case '\r':
            return put(out, R"(\r)");
        case '\t':
            return put(out, R"(\t)");
        case 0x7f:
            *out++ = '\x7f';
            return out;
    }
    if (rules == GoRules::go122 && c == '\b') return put(out, R"(\b)");
    if (rules == GoRules::go122 && c == '\f') return put(out, R"(\f)");
    return put_hex(put(out, R"(\u)"), c, 4);
}

std::optional<std::uint32_t> take_digits(std::string_view& text, std::size_t digits,
                                         unsigned base) {
    if (text.size() < digits) return std::nullopt;
    std::uint32_t value = 0;
    for (char c : text.substr(0, digits)) {
        unsigned digit = base;
        if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
        if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
        if (c >= 'A' && c <= 'F') digit = static_cast<unsigned>(c - 'A') + 10;
        if (digit >= base) return std::nullopt;
        value = value * base + digit;
    }
    text.remove_prefix(digits);
    return value;
}

}  // namespace

bool is_go_printable(std::uint32_t rune, GoRules rules) {
    const auto borders = rules == GoRules::go119 ? std::span<const std::uint32_t>(kPrintable13)
                                                 : std::span<const std::uint32_t>(kPrintable15);
    return (std::upper_bound(borders.begin(), borders.end(), rune) - borders.begin()) % 2 == 1;
}

char* put_name(char* out, std::string_view name, GoRules rules) {
    *out++ = '"';
    for (std::size_t at = 0; at < name.size();) {
        const auto c = static_cast<unsigned char>(name[at]);
        if (kPlain[c]) [[likely]] {
            *out++ = static_cast<char>(c);
            ++at;
            continue;
        }
        if (c < 0x80) {
            out = put_quoted_ascii(out, c);
            ++at;
            continue;
        }
        const std::size_t length = utf8_sequence_length(name.substr(at));
        if (length == 0) {
            out = put_hex(put(out, R"(\\x)"), c, 2);
            ++at;
            continue;
        }
        const std::uint32_t rune = rune_of(name.substr(at, length));
        if (is_go_printable(rune, rules)) {
            out = put(
                out,
                name.substr(
                    at, length));  // U+2028 and U+2029, which JSON would escape, are not printable
        } else if (rune < 0x10000) {
            out = put_hex(put(out, R"(\\u)"), rune, 4);
        } else {
            out = put_hex(put(out, R"(\\U)"), rune, 8);
        }
        at += length;
    }
    *out++ = '"';
    return out;
}

char* put_text(char* out, std::string_view text, GoRules rules) {
    *out++ = '"';
    for (std::size_t at = 0; at < text.size();) {
        const auto c = static_cast<unsigned char>(text[at]);
        if (kPlain[c]) [[likely]] {
            *out++ = static_cast<char>(c);
            ++at;
            continue;
        }
        if (c < 0x80) {
            out = put_escaped_ascii(out, c, rules);
            ++at;
            continue;
        }
        const std::size_t length = utf8_sequence_length(text.substr(at));
        const std::string_view sequence = text.substr(at, length);
        if (length == 0) {
            out = put(out, R"(\ufffd)");
        } else if (sequence == "\u2028" || sequence == "\u2029") {
            out = put_hex(put(out, R"(\u)"), rune_of(sequence), 4);
        } else {
            out = put(out, sequence);
        }
        at += std::max<std::size_t>(length, 1);
    }
    *out++ = '"';
    return out;
}

char* put_base64(char* out, std::string_view bytes) {
    const auto at = [&](std::size_t i) {
        return i < bytes.size() ? std::uint32_t{static_cast<unsigned char>(bytes[i])} : 0u;
    };
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const std::uint32_t group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
        *out++ = kBase64[group >> 18];
        *out++ = kBase64[group >> 12 & 63];
        *out++ = i + 1 < bytes.size() ? kBase64[group >> 6 & 63] : '=';
        *out++ = i + 2 < bytes.size() ? kBase64[group & 63] : '=';
    }
    return out;
}

bool append_unquoted(std::string& out, std::string_view text) {
    constexpr std::string_view kShort = "abfnrtv\\\"";
    constexpr std::string_view kMeans = "\a\b\f\n\r\t\v\\\"";
    while (!text.empty()) {
        const auto run = std::min(text.find('\\'), text.size());
        out.append(text.substr(0, run));
        text.remove_prefix(run);
        if (text.empty()) break;
        if (text.size() < 2) return false;
        const char kind = text[1];
        if (const auto at = kShort.find(kind); at != std::string_view::npos) {
            out += kMeans[at];
            text.remove_prefix(2);
            continue;
        }
        if (kind >= '0' && kind <= '7') {
            text.remove_prefix(1);
            const auto byte = take_digits(text, 3, 8);
            if (!byte || *byte > 0xff) return false;
            out += static_cast<char>(*byte);
            continue;
        }
        const std::size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
        if (digits == 0) return false;
        text.remove_prefix(2);
        const auto value = take_digits(text, digits, 16);
        if (!value) return false;
        if (kind == 'x') {
            out += static_cast<char>(*value);
        } else if (*value > 0x10ffff || (*value >= 0xd800 && *value < 0xe000)) {
            return false;
        } else {
            append_rune(out, *value);
        }
    }
    return true;
}

std::string_view name_problem(std::string_view name) {
    if (name.empty()) return "a node without a name";
    if (name == "." || name == "..") return "a node is named \".\" or \"..\"";
    if (name.find('/') != std::string_view::npos) return "a name with a slash";
    if (name.find('\0') != std::string_view::npos) return "a name with a zero byte";
    return {};
}

}  // namespace backup
