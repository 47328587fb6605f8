// Path: an absolute, normalised file name; bytes rather than text, for names need not be UTF-8.
// Normalised: starts with '/', no empty, "." or ".." components, no trailing '/', no NUL.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace backup {

class Path {
  public:
    Path() : text_("/") {}  // the root
    // Accepts duplicate and trailing slashes and "." components; refuses relative paths, ".." and
    // NUL.
    static Result<Path> parse(std::string_view text);

    const std::string& text() const { return text_; }
    const char* c_str() const { return text_.c_str(); }
    bool is_root() const { return text_.size() == 1; }
    // The last component; empty for the root.
    std::string_view name() const;
    Path parent() const;  // the root is its own parent
    Path child(std::string_view name) const;
    // True for equal paths, too.
    bool is_inside(const Path& ancestor) const;
    std::vector<std::string_view> components() const;

    auto operator<=>(const Path&) const = default;

  private:
    explicit Path(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

// For messages and terminals: control characters and bytes that are not UTF-8 are shown as \xHH.
std::string printable(std::string_view bytes);
bool is_utf8(std::string_view bytes);

}  // namespace backup

template <>
struct std::hash<backup::Path> {
    std::size_t operator()(const backup::Path& path) const noexcept {
        return std::hash<std::string>{}(path.text());
    }
};
