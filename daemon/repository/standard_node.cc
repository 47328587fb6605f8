#include "daemon/repository/standard_node.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/path.h"
#include "daemon/repository/json_reader.h"
#include "daemon/repository/node_decoder.h"
#include "daemon/repository/node_text.h"
#include "daemon/repository/zone.h"

namespace backup {

namespace {

constexpr std::size_t kIdText = 64;
constexpr std::size_t kContentStep = kIdText + 3;  // "<64 hex>",

// What a byte means inside a JSON string.
enum : std::uint8_t { plain = 0, high = 1, stop = 2 };
constexpr std::array<std::uint8_t, 256> make_string_table() {
    std::array<std::uint8_t, 256> table{};
    for (unsigned c = 0; c < 256; ++c) {
        table[c] = c >= 0x80 ? high : c < 0x20 || c == '"' || c == '\\' ? stop : plain;
    }
    return table;
}
constexpr std::array<std::uint8_t, 256> kStringTable = make_string_table();

// 64 lower case digits, not all zero. Written so that the compiler uses vectors.
bool is_id(const char* text) {
    std::uint8_t bad = 0, not_zero = 0;
    for (std::size_t i = 0; i < kIdText; ++i) {
        const auto c = static_cast<std::uint8_t>(text[i]);
        const auto digit = static_cast<std::uint8_t>(c - '0');
        const auto letter = static_cast<std::uint8_t>(c - 'a');
        bad |= static_cast<std::uint8_t>((digit > 9) & (letter > 5));
        not_zero |= digit;
    }
    return bad == 0 && not_zero != 0;
}

bool is_base64(std::string_view text) {
    if (text.size() % 4 != 0) return false;
    std::size_t digits = text.size();
    for (int i = 0; i < 2 && digits != 0 && text[digits - 1] == '='; ++i) --digits;
    for (char c : text.substr(0, digits)) {
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/')) {
            return false;
        }
    }
    return true;
}

// Reads one node in exactly the encoding that restic and we write: fields in order, no white space,
// no zero where a field is left out when zero. Anything else is refused, without an error, for the
// general decoder to judge.
class StandardReader {
  public:
    StandardReader(const char* at, const char* end) : at_(at), end_(end) {}

    bool read(RawNode& node, std::string& name_buffer);

  private:
    template <std::size_t N>
    bool take(const char (&text)[N]) {
        if (static_cast<std::size_t>(end_ - at_) < N - 1 || std::memcmp(at_, text, N - 1) != 0)
            return false;
        at_ += N - 1;
        return true;
    }
    // Up to the closing quote, which is consumed. `escaped`: with backslashes, as they are.
    bool string(std::string_view& out, bool& escaped) {
        const char* const from = at_;
        std::uint8_t kinds = 0;
        escaped = false;
        for (;; ++at_) {
            if (at_ == end_) return false;
            const std::uint8_t kind = kStringTable[static_cast<unsigned char>(*at_)];
            if (kind != stop) {
                kinds |= kind;
                continue;
            }
            if (*at_ == '"') break;
            if (*at_ != '\\' || end_ - at_ < 2) return false;
            escaped = true;
            ++at_;
        }
        out = {from, static_cast<std::size_t>(at_ - from)};
        ++at_;
        return (kinds & high) == 0 || is_utf8(out);
    }
    bool text(std::string_view& out) {
        bool escaped = false;
        if (!string(out, escaped)) return false;
        return !escaped || unescape(out, unused_);
    }
    // `quoted` without its quotes.
    static bool unescape(std::string_view quoted, std::string_view& out, std::string& buffer);
    bool unescape(std::string_view quoted, std::string& buffer) {
        std::string_view out;
        return unescape(quoted, out, buffer);
    }
    template <typename T>
    bool number(T& out) {
        std::uint64_t value = 0;
        const char* const from = at_;
        while (at_ != end_ && *at_ >= '0' && *at_ <= '9') {
            value = value * 10 + static_cast<unsigned>(*at_ - '0');
            ++at_;
        }
        const auto digits = at_ - from;
        if (digits == 0 || digits > 20 || (digits > 1 && *from == '0')) return false;
        // Of numbers with 20 digits, those below 2^64 begin with 1 and have not wrapped around to
        // less.
        if (digits == 20 && (*from != '1' || value < 10000000000000000000u)) return false;
        out = static_cast<T>(value);
        return out == value;
    }
    template <std::size_t N, typename T>
    bool optional_number(const char (&key)[N], T& out) {
        return !take(key) || (number(out) && out != 0);
    }
    template <std::size_t N>
    bool optional_text(const char (&key)[N], std::string_view& out) {
        return !take(key) || (text(out) && !out.empty());
    }
    bool time(std::string_view& out) {
        const auto left = static_cast<std::size_t>(end_ - at_);
        const auto* quote =
            static_cast<const char*>(std::memchr(at_, '"', std::min<std::size_t>(left, 40)));
        if (quote == nullptr) return false;
        out = {at_, static_cast<std::size_t>(quote - at_)};
        at_ = quote + 1;
        return true;
    }
    bool xattrs();
    bool content();

    const char* at_;
    const char* end_;
    std::string unused_;
};

bool StandardReader::unescape(std::string_view quoted, std::string_view& out, std::string& buffer) {
    JsonReader json(std::string_view(quoted.data() - 1, quoted.size() + 2));
    if (!json.read_text(out) || !json.finish()) return false;
    buffer.assign(out);
    out = buffer;
    return true;
}

bool StandardReader::xattrs() {
    std::string_view part;
    if (!take("[")) return false;
    do {
        if (!take(R"({"name":")") || !text(part) || !take(R"(,"value":")") || !text(part) ||
            !take("}")) {
            return false;
        }
        if (!is_base64(part)) return false;
    } while (take(","));
    return take("]");
}

bool StandardReader::content() {
    if (!take("[")) return false;
    if (take("]")) return true;
    for (;;) {
        if (static_cast<std::size_t>(end_ - at_) < kContentStep) return false;
        if (at_[0] != '"' || at_[kIdText + 1] != '"' || !is_id(at_ + 1)) return false;
        const char after = at_[kIdText + 2];
        at_ += kContentStep;
        if (after == ']') return true;
        if (after != ',') return false;
    }
}

bool StandardReader::read(RawNode& node, std::string& name_buffer) {
    const char* const begin = at_;
    bool escaped = false;
    std::string_view type;
    node = RawNode{};
    node.is_plain = true;
    if (!take(R"({"name":")") || !string(node.name, escaped)) return false;
    if (escaped) {
        std::string_view quoted;
        std::string unescaped;
        if (!unescape(node.name, quoted, unescaped)) return false;
        name_buffer.clear();
        if (!append_unquoted(name_buffer, quoted)) return false;
        node.name = name_buffer;
    }
    if (!take(R"(,"type":")") || !string(type, escaped) || escaped) return false;
    node.type = node_type_of(type);
    node.is_plain &= node.type != NodeType::unknown;
    if (!optional_number(R"(,"mode":)", node.mode)) return false;
    if (!take(R"(,"mtime":")") || !time(node.mtime_text)) return false;
    if (!take(R"(,"atime":")") || !time(node.atime_text)) return false;
    if (!take(R"(,"ctime":")") || !time(node.ctime_text)) return false;
    const auto mtime = parse_file_time(node.mtime_text);
    const auto ctime = parse_file_time(node.ctime_text);
    if (!mtime || !ctime ||
        (node.atime_text != node.mtime_text && !parse_file_time(node.atime_text)))
        return false;
    node.mtime_value = *mtime;
    node.ctime_value = *ctime;
    if (!take(R"(,"uid":)") || !number(node.uid) || !take(R"(,"gid":)") || !number(node.gid))
        return false;
    if (!optional_text(R"(,"user":")", node.user_json)) return false;
    if (!optional_text(R"(,"group":")", node.group_json)) return false;
    if (!optional_number(R"(,"inode":)", node.inode)) return false;
    if (!optional_number(R"(,"device_id":)", node.device_id)) return false;
    if (!optional_number(R"(,"size":)", node.size)) return false;
    if (!optional_number(R"(,"links":)", node.links)) return false;
    if (!optional_text(R"(,"linktarget":")", node.link_target_json)) return false;
    if (take(R"(,"linktarget_raw":")")) {
        std::string_view raw;
        if (!text(raw) || !is_base64(raw)) return false;
        node.is_plain = false;
    }
    node.head = {begin, static_cast<std::size_t>(at_ - begin)};
    if (take(R"(,"extended_attributes":)")) {
        const char* const from = at_;
        if (!xattrs()) return false;
        node.xattr_json = {from, static_cast<std::size_t>(at_ - from)};
        node.is_plain = false;
    }
    if (!optional_number(R"(,"device":)", node.device)) return false;
    if (!take(R"(,"content":)")) return false;
    if (!take("null")) {
        const char* const from = at_;
        if (!content()) return false;
        node.has_content = true;
        node.content_json = {from, static_cast<std::size_t>(at_ - from)};
    }
    if (take(R"(,"subtree":")")) {
        if (end_ - at_ < static_cast<std::ptrdiff_t>(kIdText + 1) || !is_id(at_)) return false;
        node.subtree_hex = {at_, kIdText};
        at_ += kIdText;
        if (!take("\"")) return false;
    }
    if (!take("}")) return false;
    node.bytes = {begin, static_cast<std::size_t>(at_ - begin)};
    return true;
}

}  // namespace

bool StandardNode::read(std::string_view text, RawNode& node, std::string& name_buffer) {
    return StandardReader(text.data(), text.data() + text.size()).read(node, name_buffer);
}

std::string unescaped_text(std::string_view json) {
    if (json.find('\\') == std::string_view::npos) return std::string(json);
    JsonReader reader(std::string_view(json.data() - 1, json.size() + 2));
    std::string text;
    reader.read(text);
    return text;
}

}  // namespace backup
