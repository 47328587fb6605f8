// Value and Dict: what travels in an a{sv} of the bus, as plain C++ values.
// No ownership beyond itself, no threads. Numbers are read whatever their width on the wire.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace backup {

// A file name: bytes, sent as `ay` with one trailing NUL.
struct FileName {
    std::string bytes;
    bool operator==(const FileName&) const = default;
};

using Value = std::variant<bool, std::uint32_t, std::uint64_t, std::int64_t, double, std::string,
                           FileName, std::vector<std::string>, std::vector<FileName>>;

class Dict {
  public:
    Dict() = default;

    void set(std::string key, Value value) { values_[std::move(key)] = std::move(value); }
    void set(std::string key, const char* text) { set(std::move(key), Value(std::string(text))); }
    bool has(std::string_view key) const { return values_.find(key) != values_.end(); }
    bool empty() const { return values_.empty(); }
    const std::map<std::string, Value, std::less<>>& values() const { return values_; }

    // An absent key, or one of another type, reads as the empty value of the type asked for.
    std::string text(std::string_view key) const;
    std::uint64_t number(std::string_view key) const;
    double real(std::string_view key) const;
    bool flag(std::string_view key) const;
    std::vector<std::string> texts(std::string_view key) const;
    std::vector<std::string> file_names(std::string_view key) const;

  private:
    const Value* find(std::string_view key) const;
    std::map<std::string, Value, std::less<>> values_;
};

}  // namespace backup
