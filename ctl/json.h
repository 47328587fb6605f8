// JSON in and out: JsonObject builds the objects that --json prints, keys in the order they were
// added; Record reads one line of the daemon's streams. Plain values; the JSON library stays in
// json.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"

namespace backup {

class JsonObject {
  public:
    JsonObject& add(std::string_view key, std::string_view text);
    JsonObject& add(std::string_view key, const char* text) {
        return add(key, std::string_view(text));
    }
    JsonObject& add(std::string_view key, const std::string& text) {
        return add(key, std::string_view(text));
    }
    JsonObject& add(std::string_view key, bool value);
    JsonObject& add(std::string_view key, int value);
    JsonObject& add(std::string_view key, std::uint64_t value);
    JsonObject& add(std::string_view key, std::int64_t value);
    JsonObject& add(std::string_view key, double value);
    JsonObject& add(std::string_view key, const JsonObject& value);
    JsonObject& add(std::string_view key, const std::vector<JsonObject>& values);
    JsonObject& add(std::string_view key, const std::vector<std::string>& texts);
    JsonObject& add_null(std::string_view key);
    // KEY for UTF-8, else KEY_b64.
    JsonObject& add_bytes(std::string_view key, std::string_view bytes);

    std::string text() const { return "{" + body_ + "}"; }

  private:
    JsonObject& raw(std::string_view key, std::string_view json);
    std::string body_;
};

class Record {
  public:
    // Anything but one JSON object is an error.
    static Result<Record> parse(std::string_view line);

    bool has(std::string_view key) const;
    // An absent key, or one of another type, reads as the empty value.
    std::string text(std::string_view key) const;
    std::uint64_t number(std::string_view key) const;
    std::int64_t integer(std::string_view key) const;
    bool flag(std::string_view key) const;
    // KEY, or the bytes of KEY_b64.
    std::string bytes(std::string_view key) const;
    // The non-negative integers of an object such as "counts".
    std::vector<std::pair<std::string, std::uint64_t>> numbers(std::string_view key) const;

  private:
    struct Data;
    std::shared_ptr<const Data> data_;
};

}  // namespace backup
