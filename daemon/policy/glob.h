// Glob matches one path component against a pattern with "*", "?" and "[...]", byte by byte. Pure;
// immutable; any thread.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace backup {

class Glob {
  public:
    // "*" is any run of bytes, "?" one byte, "[a-z]" "[!a]" "[^a]" "[[:digit:]]" one byte of (not
    // of) a set; a backslash takes the meaning from the byte behind it. `invalid` for a set that
    // does not end, an unknown class, a backslash at the end.
    static Result<Glob> compile(std::string_view pattern);

    bool matches(std::string_view text) const;

    // True when there are no wildcards; then literal() is all there is.
    bool is_literal() const { return is_literal_; }
    const std::string& literal() const { return literal_; }
    // True for "*" and then text without wildcards, which is literal().
    bool is_suffix() const { return is_suffix_; }

  private:
    enum class Kind : std::uint8_t { byte, any_byte, any_run, set };
    struct Step {
        Kind kind;
        std::uint8_t byte = 0;
        std::uint16_t set = 0;
    };
    bool step_matches(const Step& step, char c) const;
    static Result<std::size_t> compile_set(std::string_view pattern, std::bitset<256>& set);

    std::vector<Step> steps_;
    std::vector<std::bitset<256>> sets_;
    std::string literal_;
    bool is_literal_ = false;
    bool is_suffix_ = false;
};

}  // namespace backup
