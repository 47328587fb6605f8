// Decides by name whether an object is excluded. Pure; immutable after construction; thread-safe.
//
// Patterns follow gitignore(5), applied to absolute paths: a pattern without a slash (but for a
// trailing one) matches the name at any depth; with a slash it is anchored at "/", "**" spans
// directories; a trailing slash matches directories only; "!" re-includes; the last match wins;
// what lies below an excluded directory cannot come back. Names are compared byte by byte, case
// matters: look-alike names stay in.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace backup {

class Matcher {
  public:
    // `invalid` names the pattern and what is wrong with it.
    static Result<Matcher> compile(const std::vector<std::string>& patterns);

    Matcher();
    Matcher(const Matcher&);
    Matcher(Matcher&&) noexcept;
    Matcher& operator=(Matcher&&) noexcept;
    ~Matcher();

    bool empty() const;
    // `path` absolute, `name` its last component. True: excluded. Ancestors are asked first by the
    // walker.
    bool excludes(std::string_view path, std::string_view name, bool is_directory) const;
    // The pattern that decided, for explain.
    std::optional<std::string> deciding_pattern(std::string_view path, std::string_view name,
                                                bool is_directory) const;

  private:
    struct Impl;
    std::shared_ptr<const Impl> impl_;
};

}  // namespace backup
