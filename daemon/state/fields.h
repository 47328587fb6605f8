// Values of the state store as sequences of fields: tag (1 byte), length (varint), bytes. Internal
// to the codecs of this room. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/clock.h"
#include "common/result.h"

namespace backup::state {

inline void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

inline bool take_varint(std::string_view& from, std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64 && !from.empty(); shift += 7) {
        auto byte = static_cast<unsigned char>(from[0]);
        from.remove_prefix(1);
        if (shift == 63 && byte > 1) return false;
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

// Fields with their default value are left out.
class FieldWriter {
  public:
    void text(std::uint8_t tag, std::string_view value) {
        if (!value.empty()) field(tag, value);
    }
    void number(std::uint8_t tag, std::uint64_t value) {
        if (value != 0) always(tag, value);
    }
    void always(std::uint8_t tag, std::uint64_t value) {
        std::string bytes;
        put_varint(bytes, value);
        field(tag, bytes);
    }
    void time(std::uint8_t tag, Timestamp value) { number(tag, ticks(value)); }
    void end(std::uint8_t tag, const std::optional<Timestamp>& value) {
        if (value) always(tag, ticks(*value));  // present, if only as the epoch
    }
    void count(std::uint8_t tag, const std::pair<std::string, std::uint64_t>& value) {
        std::string bytes;
        put_varint(bytes, value.second);
        bytes += value.first;
        field(tag, bytes);
    }
    std::string take() { return std::move(out_); }

  private:
    static std::uint64_t ticks(Timestamp time) {
        return static_cast<std::uint64_t>(time.time_since_epoch().count());
    }
    void field(std::uint8_t tag, std::string_view bytes) {
        out_ += static_cast<char>(tag);
        put_varint(out_, bytes.size());
        out_ += bytes;
    }
    std::string out_;
};

class FieldReader {
  public:
    explicit FieldReader(std::string_view bytes) : rest_(bytes) {}

    // The next field; false at the end, and for a value that is damaged.
    bool next() {
        if (!good_ || rest_.empty()) return false;
        tag_ = static_cast<std::uint8_t>(rest_[0]);
        rest_.remove_prefix(1);
        std::uint64_t length = 0;
        good_ = take_varint(rest_, length) && length <= rest_.size();
        if (!good_) return false;
        bytes_ = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return true;
    }
    std::uint8_t tag() const { return tag_; }

    void text(std::string& out) { out.assign(bytes_); }
    std::string_view bytes() const { return bytes_; }
    std::uint64_t number() {
        std::uint64_t value = 0;
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, value) || !bytes.empty()) good_ = false;
        return value;
    }
    Timestamp time() { return Timestamp(Duration(static_cast<std::int64_t>(number()))); }
    std::pair<std::string, std::uint64_t> count() {
        std::uint64_t value = 0;
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, value)) good_ = false;
        return {std::string(bytes), value};
    }

    bool good() const { return good_; }

  private:
    std::string_view rest_;
    std::string_view bytes_;
    std::uint8_t tag_ = 0;
    bool good_ = true;
};

template <typename T>
Result<T> checked(const FieldReader& reader, T value, const char* what) {
    if (!reader.good())
        return Error(ErrorKind::corrupt, std::string("state: a damaged record of a ") + what);
    return value;
}

}  // namespace backup::state
