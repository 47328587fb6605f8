#include "common/path.h"

#include <cstdio>

namespace backup {

Result<Path> Path::parse(std::string_view text) {
    if (text.empty() || text.front() != '/')
        return Error(ErrorKind::invalid, "not an absolute path: '" + printable(text) + "'");
    if (text.find('\0') != std::string_view::npos)
        return Error(ErrorKind::invalid, "path with a NUL byte: '" + printable(text) + "'");
    std::string normal;
    std::size_t at = 0;
    while (at < text.size()) {
        std::size_t end = text.find('/', at);
        if (end == std::string_view::npos) end = text.size();
        std::string_view part = text.substr(at, end - at);
        at = end + 1;
        if (part.empty() || part == ".") continue;
        if (part == "..")
            return Error(ErrorKind::invalid, "a path must not hold '..': '" + printable(text) +
                                                 "'; write where it leads");
        normal += '/';
        normal += part;
    }
    return normal.empty() ? Path() : Path(std::move(normal));
}

std::string_view Path::name() const {
    return std::string_view(text_).substr(text_.rfind('/') + 1);
}

Path Path::parent() const {
    std::size_t slash = text_.rfind('/');
    return slash == 0 ? Path() : Path(text_.substr(0, slash));
}

Path Path::child(std::string_view name) const {
    std::string text = is_root() ? std::string() : text_;
    text += '/';
    text += name;
    return Path(std::move(text));
}

bool Path::is_inside(const Path& ancestor) const {
    if (ancestor.is_root() || text_ == ancestor.text_) return true;
    return text_.size() > ancestor.text_.size() &&
           text_.compare(0, ancestor.text_.size(), ancestor.text_) == 0 &&
           text_[ancestor.text_.size()] == '/';
}

std::vector<std::string_view> Path::components() const {
    std::vector<std::string_view> parts;
    std::string_view rest(text_);
    while (rest.size() > 1) {
        rest.remove_prefix(1);
        std::size_t slash = rest.find('/');
        parts.push_back(rest.substr(0, slash));
        if (slash == std::string_view::npos) break;
        rest.remove_prefix(slash);
    }
    return parts;
}

namespace {
// Length of the valid UTF-8 sequence at the start of `bytes`, or 0.
std::size_t utf8_sequence(std::string_view bytes) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    unsigned char first = byte(0);
    if (first < 0x80) return 1;
    std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || bytes.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i)
        if ((byte(i) & 0xc0) != 0x80) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;
    if (first == 0xed && byte(1) > 0x9f) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) > 0x8f) return 0;
    return length;
}
}  // namespace

std::string printable(std::string_view bytes) {
    std::string text;
    while (!bytes.empty()) {
        std::size_t length = utf8_sequence(bytes);
        auto first = static_cast<unsigned char>(bytes[0]);
        // C1 controls (U+0080..U+009F) can steer a terminal just as C0 ones can.
        bool control =
            first < 0x20 || first == 0x7f ||
            (length == 2 && first == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0);
        if (length == 0 || control) {
            for (std::size_t i = 0; i < (length == 0 ? 1 : length); ++i) {
                char escape[5];
                std::snprintf(escape, sizeof escape, "\\x%02x",
                              static_cast<unsigned char>(bytes[i]));
                text += escape;
            }
            bytes.remove_prefix(length == 0 ? 1 : length);
        } else {
            text += bytes.substr(0, length);
            bytes.remove_prefix(length);
        }
    }
    return text;
}

bool is_utf8(std::string_view bytes) {
    while (!bytes.empty()) {
        std::size_t length = utf8_sequence(bytes);
        if (length == 0) return false;
        bytes.remove_prefix(length);
    }
    return true;
}

}  // namespace backup
