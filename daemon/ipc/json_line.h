// JsonLine builds one JSON object on one line, for the streams of the bus. Text that is not UTF-8
// goes under KEY_b64.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/error.h"

namespace backup {

void append_json_string(std::string& to, std::string_view text);

class JsonLine {
  public:
    JsonLine& text(std::string_view key, std::string_view value);
    // A name: bytes. "key" when they are UTF-8, else "key_b64".
    JsonLine& name(std::string_view key, std::string_view bytes);
    JsonLine& number(std::string_view key, std::uint64_t value);
    JsonLine& signed_number(std::string_view key, std::int64_t value);
    JsonLine& boolean(std::string_view key, bool value);
    JsonLine& null(std::string_view key);
    // An object of numbers; '-' in keys becomes '_'.
    JsonLine& counts(std::string_view key,
                     const std::vector<std::pair<std::string, std::uint64_t>>& values);
    // The line with its newline; empty again afterwards.
    std::string_view finish();
    void clear() { line_.clear(); }

  private:
    void key(std::string_view key);
    std::string line_;
};

// The last line of every stream.
std::string end_line(std::uint64_t count);
std::string end_line(const Error& error);

}  // namespace backup
