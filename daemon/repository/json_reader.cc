#include "daemon/repository/json_reader.h"

#include <array>
#include <charconv>

#include "daemon/repository/go_json.h"

namespace backup {

namespace {

constexpr std::size_t kMostDepth = 256;
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// True for bytes of strings that mean themselves.
constexpr std::array<bool, 256> make_plain_table() {
    std::array<bool, 256> plain{};
    for (int c = 0x20; c < 0x80; ++c) plain[static_cast<std::size_t>(c)] = c != '"' && c != '\\';
    return plain;
}
constexpr std::array<bool, 256> kPlain = make_plain_table();

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Four hex digits; -1 if there are others.
int hex4(const char* at, const char* end) {
    if (end - at < 4) return -1;
    int value = 0;
    for (int i = 0; i < 4; ++i) {
        int digit = hex_value(at[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

void append_utf8(std::string& out, std::uint32_t rune) {
    auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
    if (rune < 0x80) {
        put(rune);
    } else if (rune < 0x800) {
        put(0xc0 | rune >> 6);
        put(0x80 | (rune & 0x3f));
    } else if (rune < 0x10000) {
        put(0xe0 | rune >> 12);
        put(0x80 | (rune >> 6 & 0x3f));
        put(0x80 | (rune & 0x3f));
    } else {
        put(0xf0 | rune >> 18);
        put(0x80 | (rune >> 12 & 0x3f));
        put(0x80 | (rune >> 6 & 0x3f));
        put(0x80 | (rune & 0x3f));
    }
}

bool is_high_surrogate(int unit) {
    return unit >= 0xd800 && unit <= 0xdbff;
}
bool is_low_surrogate(int unit) {
    return unit >= 0xdc00 && unit <= 0xdfff;
}

}  // namespace

bool JsonReader::fail(const char* problem) {
    if (problem_ != nullptr) return false;
    problem_ = problem;
    problem_at_ = at_;
    at_ = end_;
    return false;
}

Error JsonReader::error(std::string_view what) const {
    std::string message(what);
    message += ": ";
    message += problem_ != nullptr ? problem_ : "unexpected content";
    message += " at byte " + std::to_string((problem_ != nullptr ? problem_at_ : at_) - begin_);
    return Error(ErrorKind::corrupt, std::move(message));
}

bool JsonReader::finish() {
    skip_space();
    if (ok() && at_ != end_) fail("something follows the end");
    return ok();
}

JsonReader::Kind JsonReader::peek() {
    skip_space();
    if (at_ == end_) return Kind::none;
    switch (*at_) {
        case '{':
            return Kind::object;
        case '[':
            return Kind::array;
        case '"':
            return Kind::string;
        case 't':
        case 'f':
            return Kind::boolean;
        case 'n':
            return Kind::null;
    }
    return *at_ == '-' || is_digit(*at_) ? Kind::number : Kind::none;
}

bool JsonReader::begin(char bracket) {
    skip_space();
    if (at_ == end_ || *at_ != bracket)
        return fail(bracket == '{' ? "an object is missing" : "a list is missing");
    ++at_;
    is_fresh_ = true;
    return true;
}

bool JsonReader::next_key(std::string_view& key) {
    skip_space();
    if (at_ == end_) return fail("an object does not end");
    bool is_first = is_fresh_;
    is_fresh_ = false;
    if (*at_ == '}') {
        ++at_;
        return false;
    }
    if (!is_first) {
        if (*at_ != ',') return fail("a comma is missing");
        ++at_;
        skip_space();
    }
    if (!scan_string(key)) return false;
    skip_space();
    if (at_ == end_ || *at_ != ':') return fail("a colon is missing");
    ++at_;
    return true;
}

bool JsonReader::next_element() {
    skip_space();
    if (at_ == end_) return fail("a list does not end");
    bool is_first = is_fresh_;
    is_fresh_ = false;
    if (*at_ == ']') {
        ++at_;
        return false;
    }
    if (!is_first) {
        if (*at_ != ',') return fail("a comma is missing");
        ++at_;
        skip_space();
        if (at_ != end_ && *at_ == ']') return fail("a value is missing");
    }
    return true;
}

bool JsonReader::scan_string(std::string_view& out) {
    if (at_ == end_ || *at_ != '"') return fail("a string is missing");
    const char* from = ++at_;
    while (at_ != end_ && kPlain[static_cast<unsigned char>(*at_)]) ++at_;
    if (at_ == end_) return fail("a string does not end");
    if (*at_ == '"') {
        out = {from, static_cast<std::size_t>(at_ - from)};
        ++at_;
        return true;
    }
    if (!unescape(from)) return false;
    out = scratch_;
    return true;
}

// Reads on from at_, which is the first byte that is not plain; `from` is where the string began.
bool JsonReader::unescape(const char* from) {
    scratch_.assign(from, at_);
    while (true) {
        const char* run = at_;
        while (at_ != end_ && kPlain[static_cast<unsigned char>(*at_)]) ++at_;
        scratch_.append(run, at_);
        if (at_ == end_) return fail("a string does not end");
        char c = *at_;
        if (c == '"') {
            ++at_;
            return true;
        }
        if (static_cast<unsigned char>(c) >= 0x80) {
            std::size_t length = utf8_sequence_length({at_, static_cast<std::size_t>(end_ - at_)});
            if (length == 0)
                scratch_ += kReplacement;
            else
                scratch_.append(at_, length);
            at_ += length == 0 ? 1 : length;
            continue;
        }
        if (c != '\\') return fail("a control character in a string");
        if (end_ - at_ < 2) return fail("a string does not end");
        ++at_;
        switch (*at_++) {
            case '"':
                scratch_ += '"';
                break;
            case '\\':
                scratch_ += '\\';
                break;
            case '/':
                scratch_ += '/';
                break;
            case 'b':
                scratch_ += '\b';
                break;
            case 'f':
                scratch_ += '\f';
                break;
            case 'n':
                scratch_ += '\n';
                break;
            case 'r':
                scratch_ += '\r';
                break;
            case 't':
                scratch_ += '\t';
                break;
            case 'u': {
                int unit = hex4(at_, end_);
                if (unit < 0) return fail("a bad escape in a string");
                at_ += 4;
                if (is_high_surrogate(unit) && end_ - at_ >= 6 && at_[0] == '\\' && at_[1] == 'u') {
                    int low = hex4(at_ + 2, end_);
                    if (is_low_surrogate(low)) {
                        at_ += 6;
                        append_utf8(scratch_,
                                    0x10000u + ((static_cast<std::uint32_t>(unit) & 0x3ff) << 10) +
                                        (static_cast<std::uint32_t>(low) & 0x3ff));
                        break;
                    }
                }
                if (is_high_surrogate(unit) || is_low_surrogate(unit))
                    scratch_ += kReplacement;
                else
                    append_utf8(scratch_, static_cast<std::uint32_t>(unit));
                break;
            }
            default:
                return fail("a bad escape in a string");
        }
    }
}

bool JsonReader::read_text(std::string_view& out) {
    skip_space();
    is_fresh_ = false;
    return scan_string(out);
}

bool JsonReader::read(std::string& out) {
    std::string_view text;
    if (!read_text(text)) return false;
    out.assign(text);
    return true;
}

// The longest thing that looks like a number, by JSON's grammar.
bool JsonReader::scan_number(std::string_view& out) {
    skip_space();
    is_fresh_ = false;
    const char* from = at_;
    const char* at = at_;
    auto digits = [&] {
        const char* first = at;
        while (at != end_ && is_digit(*at)) ++at;
        return at != first;
    };
    if (at != end_ && *at == '-') ++at;
    const char* whole = at;
    if (!digits()) return fail("a number is missing");
    if (*whole == '0' && at - whole > 1) return fail("a number begins with 0");
    if (at != end_ && *at == '.') {
        ++at;
        if (!digits()) return fail("a bad number");
    }
    if (at != end_ && (*at == 'e' || *at == 'E')) {
        ++at;
        if (at != end_ && (*at == '+' || *at == '-')) ++at;
        if (!digits()) return fail("a bad number");
    }
    out = {from, static_cast<std::size_t>(at - from)};
    at_ = at;
    return true;
}

namespace {
template <typename T>
bool parse_whole(std::string_view text, T& out) {
    auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc{} && rest == text.data() + text.size();
}
}  // namespace

bool JsonReader::read(std::uint64_t& out) {
    std::string_view text;
    std::uint64_t value = 0;
    if (!scan_number(text)) return false;
    if (!parse_whole(text, value)) return fail("a number is out of range");
    out = value;
    return true;
}
bool JsonReader::read(std::uint32_t& out) {
    std::string_view text;
    std::uint32_t value = 0;
    if (!scan_number(text)) return false;
    if (!parse_whole(text, value)) return fail("a number is out of range");
    out = value;
    return true;
}
bool JsonReader::read(std::int64_t& out) {
    std::string_view text;
    std::int64_t value = 0;
    if (!scan_number(text)) return false;
    if (!parse_whole(text, value)) return fail("a number is out of range");
    out = value;
    return true;
}

bool JsonReader::literal(std::string_view word) {
    skip_space();
    is_fresh_ = false;
    if (static_cast<std::size_t>(end_ - at_) < word.size() ||
        std::string_view(at_, word.size()) != word)
        return fail("an unknown word");
    at_ += word.size();
    return true;
}

bool JsonReader::read(bool& out) {
    skip_space();
    bool is_true = at_ != end_ && *at_ == 't';
    if (!literal(is_true ? "true" : "false")) return false;
    out = is_true;
    return true;
}

bool JsonReader::read_null() {
    return literal("null");
}

bool JsonReader::skip() {
    // The brackets that are open, instead of recursion: depth is the attacker's choice.
    std::array<bool, kMostDepth> is_object{};
    std::size_t depth = 0;
    while (true) {
        switch (peek()) {
            case Kind::object:
            case Kind::array: {
                if (depth == kMostDepth) return fail("nested too deeply");
                bool object = *at_ == '{';
                is_object[depth++] = object;
                if (!begin(object ? '{' : '[')) return false;
                break;
            }
            case Kind::string: {
                std::string_view text;
                if (!read_text(text)) return false;
                break;
            }
            case Kind::number: {
                std::string_view text;
                if (!scan_number(text)) return false;
                break;
            }
            case Kind::boolean: {
                bool value;
                if (!read(value)) return false;
                break;
            }
            case Kind::null:
                if (!read_null()) return false;
                break;
            case Kind::none:
                return fail("a value is missing");
        }
        // On to the next value of the innermost open bracket; close those that end here.
        while (depth > 0) {
            std::string_view key;
            bool has_more = is_object[depth - 1] ? next_key(key) : next_element();
            if (!ok()) return false;
            if (has_more) break;
            --depth;
        }
        if (depth == 0) return true;
    }
}

bool read_string_list(JsonReader& json, std::vector<std::string>& out) {
    out.clear();
    if (json.peek() == JsonReader::Kind::null) return json.read_null();
    json.begin_array();
    while (json.next_element()) {
        out.emplace_back();
        if (!json.read(out.back())) return false;
    }
    return json.ok();
}

}  // namespace backup
