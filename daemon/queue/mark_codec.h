// Keys and values of the persistent form of a ChangeQueue. Pure functions; any thread.
//
//     key                             value
//     h                               version (1 byte), generation, records stored (both varint),
//                                     sum of their keys' checksums (8 bytes), when the last mark
//                                     was made or renewed (8 bytes, ns since the epoch)
//     v <volume>                      id of the volume, bytes
//     n <volume> <length> <directory> <name>    mark      a marked name
//     i <volume> <directory>          mark                itself
//     l <volume> <directory>          mark                listing
//     t <volume> <directory>          mark                subtree
//     o <volume> <object>             mark
//     e <volume>                      mark, then the reason
//     b <volume> <directory>          origin
//     s <volume>                      generation (varint): a directory left the scope
//
//     volume   2 bytes, big endian: its number within this queue
//     length   1 byte: of the handle that follows
//     mark     generation (varint), first seen (8 bytes, ns since the epoch), flags (1 byte:
//              1 content, 2 must be read, 4 deep)
//     origin   kind (1 byte; 0x10: moved since it was born), generation (varint), length and handle
//              of the directory it was in, its name there
//
// Integers are little-endian but for the volume. All keys but h count in the header, so that a
// store that lost some is noticed; what it lost at its end is older than the header then, and its
// owner must know by other means that it wrote its last word (a mark of a clean stop).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/queue/marks.h"

namespace backup::queue {

inline constexpr std::uint8_t kQueueVersion = 1;

enum class RecordKind : char {
    header = 'h',
    volume = 'v',
    name = 'n',
    itself = 'i',
    listing = 'l',
    subtree = 't',
    object = 'o',
    everything = 'e',
    origin = 'b',
    left_scope = 's',
};

struct RecordKey {
    RecordKind kind{};
    std::uint16_t volume = 0;
    ObjectHandle handle;
    std::string name;
    bool operator==(const RecordKey&) const = default;
};

struct QueueHeader {
    Generation generation = 0;
    std::uint64_t records = 0;
    std::uint64_t sum = 0;
    Timestamp newest{};
};

// What a handle and a name must be to be marked and stored.
bool is_handle(std::string_view handle);    // 1 to 255 bytes
bool is_entry_name(std::string_view name);  // one component

std::string encode_key(RecordKind kind, std::uint16_t volume, std::string_view handle = {},
                       std::string_view name = {});
// `corrupt` for what encode_key() cannot have made, here and below.
Result<RecordKey> decode_key(std::string_view key);
std::uint64_t checksum_of_key(std::string_view key);

std::string encode_header(const QueueHeader& header);
Result<QueueHeader> decode_header(std::string_view value);
std::string encode_mark(const Mark& mark);
Result<Mark> decode_mark(std::string_view value);
std::string encode_everything(const Mark& mark, std::string_view reason);
Result<Mark> decode_everything(std::string_view value, std::string& reason);
std::string encode_origin(const DirectoryOrigin& origin);
Result<DirectoryOrigin> decode_origin(std::string_view value);
std::string encode_generation(Generation generation);
Result<Generation> decode_generation(std::string_view value);

}  // namespace backup::queue
