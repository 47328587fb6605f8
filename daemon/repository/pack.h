// The layout of pack files:
//
//     sealed blob 1 || ... || sealed blob n || sealed header || u32 length of the sealed header
//     (little endian)
//
// The header has one entry per blob, in order: type (0 data, 1 tree, 2 data zstd, 3 tree zstd), u32
// sealed length, u32 uncompressed length (types 2 and 3 only), 32 bytes id. Offsets are the running
// sum. Pure codec; no I/O.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/bytes.h"
#include "common/result.h"
#include "daemon/repository/blob.h"
#include "daemon/repository/crypto.h"

namespace backup {

// One blob of a pack, as pack headers and indexes describe it.
struct PackedBlob {
    BlobType type = BlobType::data;
    BlobId id;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;               // sealed
    std::uint32_t uncompressed_length = 0;  // 0: stored raw

    bool operator==(const PackedBlob&) const = default;
    BlobLocation in(const PackId& pack) const {
        return {pack, offset, length, uncompressed_length};
    }
};

inline constexpr std::size_t kMostSealedHeader = std::size_t{16} << 20;
inline constexpr std::size_t kRawEntryBytes = 37;
inline constexpr std::size_t kCompressedEntryBytes = 41;
inline constexpr std::size_t kMostPackBlobs =
    (kMostSealedHeader - kSealOverhead) / kCompressedEntryBytes;
inline constexpr std::size_t kLeastPackBytes = 73;  // one raw entry
// Reading this much from the end gets most headers at once.
inline constexpr std::size_t kPackTailGuess = 651;

// What a pack with these blobs measures, trailer included.
std::uint64_t pack_file_size(std::span<const PackedBlob> blobs);

// Appends sealed header and trailer for the blobs that `pack` already holds, back to back from its
// start. Allocates nothing if `pack` has the capacity that pack_file_size tells.
void append_pack_header(Bytes& pack, std::span<const PackedBlob> blobs, const MasterKey& key);

// Of the last bytes of a pack (at least 4): how many bytes from the end hold header and trailer.
Result<std::size_t> pack_tail_length(ByteView tail, std::uint64_t pack_size);
// `tail`: the end of the pack, at least pack_tail_length() bytes. Unseals and decodes.
Result<std::vector<PackedBlob>> decode_pack_tail(ByteView tail, std::uint64_t pack_size,
                                                 unsigned version, const MasterKey& key);
// The plain header alone. Checks everything: entries whole, types known and of this version,
// lengths possible and adding up to the pack.
Result<std::vector<PackedBlob>> decode_pack_header(ByteView plain_header, std::uint64_t pack_size,
                                                   unsigned version);

}  // namespace backup
