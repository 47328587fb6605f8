// Values of the state store as sequences of fields: tag (1 byte), length (varint), bytes. Internal
// to the codecs of this room. Pure.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

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

// A record says once what its fields are, for both directions, with a function found beside this:
//
//   void describe(auto& field, Of<JobRecord> auto& job) { field(1, job.id); field(2, job.kind); }
//
// A vector is one field for each element, a record within a record is a field of its fields.
template <typename T, typename Record>
concept Of = std::same_as<std::remove_const_t<T>, Record>;

// Fields with their default value are left out.
class FieldWriter {
  public:
    void operator()(std::uint8_t tag, const std::string& text) {
        if (!text.empty()) put(tag, text);
    }
    void operator()(std::uint8_t tag, std::integral auto number) {
        if (number != 0) put_number(tag, static_cast<std::uint64_t>(number));
    }
    void operator()(std::uint8_t tag, Timestamp time) { (*this)(tag, ticks(time)); }
    void operator()(std::uint8_t tag, const std::optional<Timestamp>& time) {
        if (time) put_number(tag, ticks(*time));  // present, if only as the epoch
    }
    void operator()(std::uint8_t tag, const std::pair<std::string, std::uint64_t>& count) {
        std::string bytes;
        put_varint(bytes, count.second);
        bytes += count.first;
        put(tag, bytes);
    }
    template <typename T>
    void operator()(std::uint8_t tag, const std::vector<T>& values) {
        for (const T& value : values) (*this)(tag, value);
    }
    template <typename Record>
    requires std::is_class_v<Record>
    void operator()(std::uint8_t tag, const Record& record) {
        FieldWriter inner;
        describe(inner, record);
        (*this)(tag, inner.out_);
    }
    std::string take() { return std::move(out_); }

  private:
    static std::uint64_t ticks(Timestamp time) {
        return static_cast<std::uint64_t>(time.time_since_epoch().count());
    }
    void put_number(std::uint8_t tag, std::uint64_t number) {
        std::string bytes;
        put_varint(bytes, number);
        put(tag, bytes);
    }
    void put(std::uint8_t tag, std::string_view bytes) {
        out_ += static_cast<char>(tag);
        put_varint(out_, bytes.size());
        out_ += bytes;
    }
    std::string out_;
};

// Fields that the record does not name are passed over: a newer program wrote them.
class FieldReader {
  public:
    explicit FieldReader(std::string_view bytes) : rest_(bytes) {}

    // False: the bytes are damaged.
    template <typename Record>
    bool read(Record& record) {
        while (next()) describe(*this, record);
        return good_;
    }

    template <typename T>
    void operator()(std::uint8_t tag, T& value) {
        if (tag == tag_) take(value);
    }

  private:
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

    std::uint64_t number() {
        std::uint64_t value = 0;
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, value) || !bytes.empty()) good_ = false;
        return value;
    }
    void take(std::string& text) { text.assign(bytes_); }
    void take(bool& flag) { flag = number() != 0; }
    template <std::integral T>
    void take(T& value) {
        value = static_cast<T>(number());
    }
    void take(Timestamp& time) { time = Timestamp(Duration(static_cast<std::int64_t>(number()))); }
    void take(std::optional<Timestamp>& time) { take(time.emplace()); }
    void take(std::pair<std::string, std::uint64_t>& count) {
        std::string_view bytes = bytes_;
        if (!take_varint(bytes, count.second)) good_ = false;
        count.first.assign(bytes);
    }
    template <typename T>
    void take(std::vector<T>& values) {
        take(values.emplace_back());
    }
    template <typename Record>
    requires std::is_class_v<Record>
    void take(Record& record) {
        record = {};
        if (!FieldReader(bytes_).read(record)) good_ = false;
    }

    std::string_view rest_;
    std::string_view bytes_;
    std::uint8_t tag_ = 0;
    bool good_ = true;
};

template <typename Record>
std::string encode_fields(const Record& record) {
    FieldWriter writer;
    describe(writer, record);
    return writer.take();
}

template <typename Record>
Result<Record> decode_fields(std::string_view value, const char* what) {
    Record record;
    if (!FieldReader(value).read(record))
        return Error(ErrorKind::corrupt, std::string("state: a damaged record of a ") + what);
    return record;
}

}  // namespace backup::state
