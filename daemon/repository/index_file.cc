#include "daemon/repository/index_file.h"

#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/repository/json_reader.h"

namespace backup {

namespace {

// Two hex digits for every byte value: ids are most of an index.
struct HexTable {
    char text[256][2];
    constexpr HexTable() : text() {
        constexpr char kDigits[] = "0123456789abcdef";
        for (int i = 0; i < 256; ++i) {
            text[i][0] = kDigits[i >> 4];
            text[i][1] = kDigits[i & 15];
        }
    }
};
constexpr HexTable kHex;

void put(Bytes& out, std::string_view text) {
    append(out, as_bytes(text));
}

template <typename Tag>
void put_id(Bytes& out, const Id<Tag>& id) {
    std::size_t begin = out.size();
    out.resize(begin + 64);
    for (std::size_t i = 0; i < 32; ++i)
        std::memcpy(out.data() + begin + 2 * i, kHex.text[id.bytes[i]], 2);
}

void put_number(Bytes& out, std::uint64_t value) {
    char text[20];
    auto result = std::to_chars(text, text + sizeof text, value);
    put(out, {text, static_cast<std::size_t>(result.ptr - text)});
}

template <typename IdType>
bool read_id(JsonReader& json, IdType& out) {
    std::string_view text;
    if (!json.read_text(text)) return false;
    if (!from_hex(text, out.bytes)) return json.fail("a bad id");
    return true;
}

class IndexDecoder {
  public:
    IndexDecoder(ByteView text, unsigned version, IndexVisitor& visitor)
        : json_(text), version_(version), visitor_(visitor) {}

    Result<> run() {
        bool has_packs = false;
        json_.begin_object();
        for (std::string_view key; json_.next_key(key);) {
            if (key == "packs") {
                if (has_packs) json_.fail("packs are listed twice");
                has_packs = true;
                read_packs(false);
            } else if (key == "packs_to_delete") {
                read_packs(true);
            } else if (key == "supersedes") {
                read_supersedes();
            } else {
                json_.skip();
            }
        }
        if (!json_.finish()) return json_.error("index");
        if (!has_packs) return Error(ErrorKind::corrupt, "index: no packs are listed");
        return {};
    }

  private:
    void read_supersedes() {
        if (json_.peek() == JsonReader::Kind::null) {
            json_.read_null();
            return;
        }
        json_.begin_array();
        while (json_.next_element()) {
            IndexId id;
            if (read_id(json_, id)) visitor_.supersedes(id);  // may be null: nobody follows it
        }
    }

    void read_packs(bool to_delete) {
        if (json_.peek() == JsonReader::Kind::null) {  // Go's empty list
            json_.read_null();
            return;
        }
        json_.begin_array();
        while (json_.next_element()) read_pack(to_delete);
    }

    void read_pack(bool to_delete) {
        PackId id;
        PackMark mark;
        std::string time;
        blobs_.clear();
        json_.begin_object();
        for (std::string_view key; json_.next_key(key);) {
            if (key == "id")
                read_id(json_, id);
            else if (key == "blobs")
                read_blobs();
            else if (to_delete && key == "time")
                json_.read(time);
            else if (to_delete && key == "size")
                json_.read(mark.size);
            else if (to_delete && key == "unlisted")
                json_.read(mark.is_unlisted);
            else
                json_.skip();
        }
        if (!json_.ok()) return;
        if (id.is_null()) {
            json_.fail("a pack without id");
            return;
        }
        if (to_delete) {
            // A mark without a time that can be read is as good as one of the year 2262: never due.
            auto parsed = parse_rfc3339(time);
            mark.time = parsed.ok() ? *parsed : Timestamp::max();
            visitor_.pack_to_delete(id, blobs_, mark);
        } else
            visitor_.pack(id, blobs_);
    }

    void read_blobs() {
        blobs_.clear();
        if (json_.peek() == JsonReader::Kind::null) {
            json_.read_null();
            return;
        }
        json_.begin_array();
        while (json_.next_element()) read_blob(blobs_.emplace_back());
    }

    void read_type(PackedBlob& blob) {
        std::string_view text;
        if (!json_.read_text(text)) return;
        if (text == "data")
            blob.type = BlobType::data;
        else if (text == "tree")
            blob.type = BlobType::tree;
        else
            json_.fail("unknown type of blob");
    }

    void read_blob(PackedBlob& blob) {
        bool has_type = false, has_length = false, has_offset = false;
        json_.begin_object();
        for (std::string_view key; json_.next_key(key);) {
            if (key == "id") {
                read_id(json_, blob.id);
            } else if (key == "type") {
                read_type(blob);
                has_type = true;
            } else if (key == "offset") {
                json_.read(blob.offset);
                has_offset = true;
            } else if (key == "length") {
                json_.read(blob.length);
                has_length = true;
            } else if (key == "uncompressed_length") {
                json_.read(blob.uncompressed_length);
            } else {
                json_.skip();
            }
        }
        if (!json_.ok()) return;
        if (blob.id.is_null() || !has_type || !has_offset || !has_length)
            json_.fail("a blob lacks a field");
        else if (blob.length < kSealOverhead)
            json_.fail("a blob is too short");
        else if (blob.offset > UINT32_MAX - blob.length)
            json_.fail("a blob lies outside of any pack");
        else if (version_ < 2 && blob.uncompressed_length != 0)
            json_.fail("a compressed blob in a repository of version 1");
    }

    JsonReader json_;
    unsigned version_;
    IndexVisitor& visitor_;
    std::vector<PackedBlob> blobs_;  // of the pack being read; reused
};

}  // namespace

IndexEncoder::IndexEncoder() = default;

void IndexEncoder::add_pack(const PackId& pack, std::span<const PackedBlob> blobs) {
    put(json_, packs_ == 0 ? R"({"packs":[{"id":")" : R"(,{"id":")");
    put_id(json_, pack);
    put(json_, R"(","blobs":[)");
    bool is_first = true;
    for (const PackedBlob& blob : blobs) {
        put(json_, is_first ? R"({"id":")" : R"(,{"id":")");
        is_first = false;
        put_id(json_, blob.id);
        put(json_, blob.type == BlobType::data ? R"(","type":"data","offset":)"
                                               : R"(","type":"tree","offset":)");
        put_number(json_, blob.offset);
        put(json_, R"(,"length":)");
        put_number(json_, blob.length);
        if (blob.uncompressed_length != 0) {
            put(json_, R"(,"uncompressed_length":)");
            put_number(json_, blob.uncompressed_length);
        }
        put(json_, "}");
    }
    put(json_, "]}");
    ++packs_;
    blobs_ += blobs.size();
}

void IndexEncoder::add_mark(const PackId& pack, const PackMark& mark) {
    put(marks_, marks_.empty() ? R"({"id":")" : R"(,{"id":")");
    put_id(marks_, pack);
    put(marks_, R"(","blobs":[],"time":")");
    put(marks_, format_rfc3339_utc(mark.time));
    put(marks_, "\"");
    if (mark.size != 0) {
        put(marks_, R"(,"size":)");
        put_number(marks_, mark.size);
    }
    if (mark.is_unlisted) put(marks_, R"(,"unlisted":true)");
    put(marks_, "}");
}

Bytes IndexEncoder::finish() {
    put(json_, packs_ == 0 ? R"({"packs":[])" : "]");
    if (!marks_.empty()) {
        put(json_, R"(,"packs_to_delete":[)");
        append(json_, std::exchange(marks_, Bytes{}));
        put(json_, "]");
    }
    put(json_, "}\n");
    packs_ = 0;
    blobs_ = 0;
    return std::exchange(json_, Bytes{});
}

Result<> decode_index(ByteView json, unsigned version, IndexVisitor& visitor) {
    return IndexDecoder(json, version, visitor).run();
}

}  // namespace backup
