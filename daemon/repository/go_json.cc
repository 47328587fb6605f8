#include "daemon/repository/go_json.h"

#include <array>

namespace backup {

namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

// True for bytes that Go copies as they are: ASCII without controls, quote, backslash and the HTML
// three.
constexpr std::array<bool, 256> make_plain_table() {
    std::array<bool, 256> plain{};
    for (int c = 0x20; c < 0x80; ++c)
        plain[static_cast<std::size_t>(c)] =
            c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
    return plain;
}
constexpr std::array<bool, 256> kPlain = make_plain_table();

bool is_continuation(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

void append_ascii_escape(std::string& out, unsigned char c, GoRules rules) {
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
    }
    if (rules == GoRules::go122 && (c == '\b' || c == '\f')) {
        out += c == '\b' ? "\\b" : "\\f";
        return;
    }
    out += "\\u00";
    out += kHexDigits[c >> 4];
    out += kHexDigits[c & 15];
}

}  // namespace

std::size_t utf8_sequence_length(std::string_view text) {
    auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned char first = at(0);
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    if (text.size() < 2 || !is_continuation(text[1])) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) {
        if ((first == 0xe0 && at(1) < 0xa0) || (first == 0xed && at(1) > 0x9f)) return 0;
        return text.size() >= 3 && is_continuation(text[2]) ? 3 : 0;
    }
    if ((first == 0xf0 && at(1) < 0x90) || (first == 0xf4 && at(1) > 0x8f)) return 0;
    return text.size() >= 4 && is_continuation(text[2]) && is_continuation(text[3]) ? 4 : 0;
}

void append_go_json_string(std::string& out, std::string_view text, GoRules rules) {
    out += '"';
    std::size_t begin = 0;  // of the run that is copied as it is
    std::size_t at = 0;
    auto flush = [&] { out.append(text, begin, at - begin); };
    while (at < text.size()) {
        auto c = static_cast<unsigned char>(text[at]);
        if (kPlain[c]) {
            ++at;
            continue;
        }
        if (c < 0x80) {
            if (c == 0x7f) {
                ++at;
                continue;
            }
            flush();
            append_ascii_escape(out, c, rules);
            begin = ++at;
            continue;
        }
        std::string_view rest = text.substr(at);
        std::size_t length = utf8_sequence_length(rest);
        bool is_line_separator =
            length == 3 && (rest.starts_with("\u2028") || rest.starts_with("\u2029"));
        if (length != 0 && !is_line_separator) {
            at += length;
            continue;
        }
        flush();
        if (is_line_separator)
            out += rest[2] == '\xa8' ? "\\u2028" : "\\u2029";
        else
            out += "\\ufffd";
        at += length == 0 ? 1 : length;
        begin = at;
    }
    flush();
    out += '"';
}

std::string go_json_string(std::string_view text, GoRules rules) {
    std::string out;
    append_go_json_string(out, text, rules);
    return out;
}

}  // namespace backup
