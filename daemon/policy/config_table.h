// ConfigTable takes known keys out of one table of a configuration file and reports everything that
// is not as it should be: wrong types, bad values, unknown keys with the nearest known one. Used
// and thrown away while a file is parsed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/policy/config_file.h"
#include "daemon/policy/toml_document.h"

namespace backup {

class ConfigTable {
  public:
    // `where` names the table in messages: "" for the top of a file, else "[engine]".
    ConfigTable(const TomlValue& table, std::string file, std::string where,
                std::vector<ConfigProblem>& problems);

    // Each takes a key. `out` changes only when the answer is `ok`; `wrong` has been reported.
    enum class Taken : std::uint8_t { absent, wrong, ok };
    Taken text(std::string_view key, std::string& out);
    Taken flag(std::string_view key, bool& out);
    Taken whole_number(std::string_view key, std::int64_t least, std::int64_t most,
                       std::int64_t& out);
    // A text like "16MiB" or a whole number of bytes; a text like "1h" or a whole number of
    // seconds.
    Taken size(std::string_view key, std::uint64_t& out);
    Taken interval(std::string_view key, std::uint64_t& out);
    // Milliseconds: a text like "500ms" or "2s" or a whole number of seconds.
    Taken short_interval(std::string_view key, std::uint64_t& out);
    // Bytes a second: a text like "2MiB/s" or "off", or a whole number.
    Taken rate(std::string_view key, std::uint64_t& out);
    // A list of texts; {base64 = "..."} in place of a text that is not UTF-8.
    struct Element {
        std::string text;
        unsigned line;
    };
    Taken list(std::string_view key, std::vector<Element>& out);
    // A table of tables: [key.NAME].
    void tables(std::string_view key, const std::function<void(const TomlMember& member)>& each);
    // One table: [key].
    const TomlValue* table(std::string_view key);

    // To be called last: reports keys that nobody took.
    void finish();

    unsigned line_of(std::string_view key) const;  // 0: not there
    void problem(unsigned line, std::string message);

  private:
    const TomlMember* take(std::string_view key);
    const TomlMember* take(std::string_view key, TomlValue::Kind kind, std::string_view wanted);
    Taken missing(std::string_view key) const;
    Taken measure(std::string_view key, std::int64_t most,
                  Result<std::uint64_t> (*parse)(std::string_view), std::string_view wanted,
                  std::uint64_t& out);
    void wrong_type(const TomlMember& member, std::string_view wanted);
    std::string named(std::string_view key) const;

    const TomlValue& table_;
    std::string file_, where_;
    std::vector<ConfigProblem>& problems_;
    std::vector<std::string> known_;
};

// The one of `known` that differs least from `word`, if it is near enough to be what was meant;
// else empty.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace backup
