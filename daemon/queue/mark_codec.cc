#include "daemon/queue/mark_codec.h"

namespace backup::queue {

namespace {

constexpr std::uint8_t kContent = 1, kMustRead = 2, kDeep = 4;
constexpr std::uint8_t kMoved = 0x10;
constexpr Generation kMostGeneration = (Generation{1} << 58) - 1;

Error damaged(const char* what) {
    return Error(ErrorKind::corrupt, std::string("the stored queue of changes: a damaged ") + what);
}

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

void put_le64(std::string& out, std::uint64_t value) {
    for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i));
}

void put_time(std::string& out, Timestamp time) {
    put_le64(out, static_cast<std::uint64_t>(time.time_since_epoch().count()));
}

// Takes from the front; after a failure everything else fails, too.
class Taker {
  public:
    explicit Taker(std::string_view bytes) : rest_(bytes) {}

    std::uint8_t byte() {
        std::string_view taken = bytes(1);
        return taken.empty() ? 0 : static_cast<std::uint8_t>(taken[0]);
    }
    // Only the shortest form: one value has one encoding.
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            std::uint8_t next = byte();
            if (!good_ || (shift == 63 && next > 1) || (shift > 0 && next == 0)) break;
            value |= std::uint64_t{next & 0x7fu} << shift;
            if (next < 0x80) return value;
        }
        good_ = false;
        return 0;
    }
    std::uint64_t le64() {
        std::string_view taken = bytes(8);
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < taken.size(); ++i)
            value |= std::uint64_t{static_cast<std::uint8_t>(taken[i])} << (8 * i);
        return value;
    }
    Timestamp time() { return Timestamp(Duration(static_cast<std::int64_t>(le64()))); }
    std::string_view bytes(std::size_t count) {
        if (!good_ || rest_.size() < count) {
            good_ = false;
            return {};
        }
        std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }
    std::string_view rest() {
        std::string_view taken = rest_;
        rest_ = {};
        return good_ ? taken : std::string_view();
    }
    Generation generation() {
        std::uint64_t value = varint();
        if (value == 0 || value > kMostGeneration) good_ = false;
        return value;
    }
    bool good() const { return good_; }
    bool at_end() const { return good_ && rest_.empty(); }

  private:
    std::string_view rest_;
    bool good_ = true;
};

bool has_handle(RecordKind kind) {
    switch (kind) {
        case RecordKind::name:
        case RecordKind::itself:
        case RecordKind::listing:
        case RecordKind::subtree:
        case RecordKind::object:
        case RecordKind::origin:
            return true;
        case RecordKind::header:
        case RecordKind::volume:
        case RecordKind::everything:
        case RecordKind::left_scope:
            return false;
    }
    return false;
}

bool is_kind(char byte) {
    return std::string_view("hvniltoebs").find(byte) != std::string_view::npos;
}

Mark take_mark(Taker& taker, bool& good) {
    Mark mark;
    mark.generation = taker.generation();
    mark.first_seen = taker.time();
    std::uint8_t flags = taker.byte();
    mark.content = (flags & kContent) != 0;
    mark.must_read = (flags & kMustRead) != 0;
    mark.deep = (flags & kDeep) != 0;
    good = taker.good() && (flags & ~(kContent | kMustRead | kDeep)) == 0;
    return mark;
}

}  // namespace

bool is_handle(std::string_view handle) {
    return !handle.empty() && handle.size() <= 255;
}

bool is_entry_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

std::string encode_key(RecordKind kind, std::uint16_t volume, std::string_view handle,
                       std::string_view name) {
    std::string key;
    key.reserve(4 + handle.size() + name.size());
    key += static_cast<char>(kind);
    if (kind == RecordKind::header) return key;
    key += static_cast<char>(volume >> 8);
    key += static_cast<char>(volume & 0xff);
    if (kind == RecordKind::name) key += static_cast<char>(handle.size());
    key += handle;
    key += name;
    return key;
}

Result<RecordKey> decode_key(std::string_view key) {
    Taker taker(key);
    RecordKey decoded;
    char kind = static_cast<char>(taker.byte());
    if (!taker.good() || !is_kind(kind)) return damaged("key");
    decoded.kind = static_cast<RecordKind>(kind);
    if (decoded.kind != RecordKind::header) {
        unsigned high = taker.byte();
        decoded.volume = static_cast<std::uint16_t>(high << 8 | taker.byte());
    }
    if (decoded.kind == RecordKind::name) {
        decoded.handle = taker.bytes(taker.byte());
        decoded.name = taker.rest();
        if (!is_entry_name(decoded.name)) return damaged("key");
    } else if (has_handle(decoded.kind)) {
        decoded.handle = taker.rest();
    }
    if (!taker.at_end() || (has_handle(decoded.kind) && !is_handle(decoded.handle)))
        return damaged("key");
    return decoded;
}

// FNV-1a: it tells that a key is missing, nothing more is asked of it.
std::uint64_t checksum_of_key(std::string_view key) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (char byte : key) {
        hash ^= static_cast<std::uint8_t>(byte);
        hash *= 0x100000001b3u;
    }
    return hash;
}

std::string encode_header(const QueueHeader& header) {
    std::string value(1, static_cast<char>(kQueueVersion));
    put_varint(value, header.generation);
    put_varint(value, header.records);
    put_le64(value, header.sum);
    put_time(value, header.newest);
    return value;
}

Result<QueueHeader> decode_header(std::string_view value) {
    Taker taker(value);
    if (taker.byte() != kQueueVersion) return damaged("header, or one of another version");
    QueueHeader header;
    header.generation = taker.varint();
    header.records = taker.varint();
    header.sum = taker.le64();
    header.newest = taker.time();
    if (!taker.at_end() || header.generation > kMostGeneration) return damaged("header");
    return header;
}

std::string encode_mark(const Mark& mark) {
    std::string value;
    put_varint(value, mark.generation);
    put_time(value, mark.first_seen);
    unsigned flags =
        (mark.content ? kContent : 0) | (mark.must_read ? kMustRead : 0) | (mark.deep ? kDeep : 0);
    value += static_cast<char>(flags);
    return value;
}

Result<Mark> decode_mark(std::string_view value) {
    Taker taker(value);
    bool good = false;
    Mark mark = take_mark(taker, good);
    if (!good || !taker.at_end()) return damaged("mark");
    return mark;
}

std::string encode_everything(const Mark& mark, std::string_view reason) {
    std::string value = encode_mark(mark);
    value += reason;
    return value;
}

Result<Mark> decode_everything(std::string_view value, std::string& reason) {
    Taker taker(value);
    bool good = false;
    Mark mark = take_mark(taker, good);
    if (!good) return damaged("mark");
    reason = taker.rest();
    return mark;
}

std::string encode_origin(const DirectoryOrigin& origin) {
    std::string value;
    unsigned kind = static_cast<unsigned>(origin.kind) | (origin.moved ? kMoved : 0u);
    value += static_cast<char>(kind);
    put_varint(value, origin.generation);
    value += static_cast<char>(origin.directory.size());
    value += origin.directory;
    value += origin.name;
    return value;
}

Result<DirectoryOrigin> decode_origin(std::string_view value) {
    using Kind = DirectoryOrigin::Kind;
    Taker taker(value);
    DirectoryOrigin origin;
    std::uint8_t kind = taker.byte();
    origin.moved = (kind & kMoved) != 0;
    kind &= static_cast<std::uint8_t>(~kMoved);
    if (kind > static_cast<std::uint8_t>(Kind::unknown)) return damaged("origin of a directory");
    origin.kind = static_cast<Kind>(kind);
    origin.generation = taker.generation();
    origin.directory = taker.bytes(taker.byte());
    origin.name = taker.rest();
    bool has_place = is_handle(origin.directory) && is_entry_name(origin.name);
    bool has_none = origin.directory.empty() && origin.name.empty();
    if (!taker.at_end() || (!has_place && (origin.kind == Kind::at || !has_none)))
        return damaged("origin of a directory");
    return origin;
}

std::string encode_generation(Generation generation) {
    std::string value;
    put_varint(value, generation);
    return value;
}

Result<Generation> decode_generation(std::string_view value) {
    Taker taker(value);
    Generation generation = taker.generation();
    if (!taker.at_end()) return damaged("generation");
    return generation;
}

}  // namespace backup::queue
