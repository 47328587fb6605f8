// JsonReader walks through JSON from front to back and builds nothing: the caller asks for what it
// expects. Strict JSON (RFC 8259), with Go's treatment of broken strings: bytes that are not UTF-8
// and lone surrogates read as U+FFFD. The first error sticks: every later call fails, so a caller
// may check ok() once at the end of an object. One thread at a time. Nesting is limited, so hostile
// input cannot exhaust the stack.
//
//     JsonReader json(text);
//     json.begin_object();
//     for (std::string_view key; json.next_key(key);) {
//         if (key == "pid") json.read(pid);
//         else json.skip();
//     }
//     if (!json.finish()) return json.error("lock");
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/bytes.h"
#include "common/error.h"

namespace backup {

class JsonReader {
  public:
    enum class Kind : std::uint8_t { object, array, string, number, boolean, null, none };

    explicit JsonReader(std::string_view text)
        : begin_(text.data()), at_(text.data()), end_(text.data() + text.size()) {}
    explicit JsonReader(ByteView text) : JsonReader(as_text(text)) {}
    JsonReader(const JsonReader&) = delete;
    JsonReader& operator=(const JsonReader&) = delete;

    // Of the next value; none at the end and for what is no JSON.
    Kind peek();

    bool begin_object() { return begin('{'); }
    // False at the end of the object and after an error. The view is good until the next call.
    bool next_key(std::string_view& key);
    bool begin_array() { return begin('['); }
    // True when there is a value to be read.
    bool next_element();

    // The view is good until the next call.
    bool read_text(std::string_view& out);
    bool read(std::string& out);
    // Integers without sign, fraction or exponent, that fit.
    bool read(std::uint64_t& out);
    bool read(std::uint32_t& out);
    bool read(std::int64_t& out);
    bool read(bool& out);
    bool read_null();
    // Any value.
    bool skip();

    // Bytes consumed so far; with raw(), what a skipped value looked like.
    std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }
    std::string_view raw(std::size_t from, std::size_t to) const {
        return {begin_ + from, to - from};
    }

    bool ok() const { return problem_ == nullptr; }
    // No error, and nothing but white space follows.
    bool finish();
    // Marks the input as wrong for a reason the caller knows. Returns false. `problem` is a
    // literal.
    bool fail(const char* problem);
    // `corrupt`: "<what>: <problem> at byte N".
    Error error(std::string_view what) const;

  private:
    bool begin(char bracket);
    void skip_space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
    }
    bool literal(std::string_view word);
    bool unescape(const char* from);
    bool scan_string(std::string_view& out);
    bool scan_number(std::string_view& out);

    const char* begin_;
    const char* at_;
    const char* end_;
    const char* problem_ = nullptr;
    const char* problem_at_ = nullptr;
    bool is_fresh_ = false;  // just behind an opening bracket: no comma is due
    std::string scratch_;    // strings that had to be unescaped
};

// For optional lists that Go may write as null.
bool read_string_list(JsonReader& json, std::vector<std::string>& out);

}  // namespace backup
