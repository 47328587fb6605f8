// zstd, for blobs and for unpacked files. Contexts are per thread and reused: nothing is allocated
// per call but the output. Any thread.
#pragma once

#include <cstdint>
#include <functional>

#include "common/bytes.h"
#include "common/result.h"

namespace backup {

inline constexpr int kDefaultCompressionLevel = 3;
// Small blobs gain next to nothing from the default level: measured over sources, documentation and
// programs of up to 16 KiB each, level 1 makes them 0.7 to 3 % larger in three quarters of the
// time. A level that somebody chose stays as it is.
inline constexpr int kSmallBlobLevel = 1;
inline constexpr std::size_t kSmallBlobBytes = std::size_t{16} << 10;
int blob_compression_level(int level, std::size_t plain_bytes);
// Index files are ids in hexadecimal and numbers, in which searching harder finds nothing: of
// 50,000 blobs level 1 makes 8 % less than level 3, in a third of the time, and they are read back
// half as fast again.
inline constexpr int kUnpackedLevel = 1;
// An index file holds some ten MiB. The limit is what a hostile file can make a reader spend,
// twice.
inline constexpr std::size_t kMostUnpackedBytes = std::size_t{256} << 20;

// Room that compressing `bytes` may need.
std::size_t compress_bound(std::size_t bytes);
// One frame with content size and without checksum; returns its length. `out` has
// compress_bound(plain.size()) bytes and does not overlap `plain`.
std::size_t compress_to(MutableByteView out, ByteView plain, int level);
// Appends the frame.
void compress_into(Bytes& out, ByteView plain, int level);

// Blobs: the length is known from the pack header. Several frames, skippable frames, checksums and
// frames without content size are all fine; `corrupt` unless exactly out.size() bytes come out and
// nothing is left over.
Result<> decompress_to(MutableByteView out, ByteView frames);
// The same in pieces of `piece.size()` bytes (the last may be shorter), for content that need not
// be in memory as a whole; the frames, too, may come in pieces. One thread, and nothing else is
// decompressed on it between the constructor and finish(). `each` may not decompress anything.
class PieceDecompressor {
  public:
    PieceDecompressor(MutableByteView piece, std::function<void(ByteView)> each);
    Result<> feed(ByteView frames);
    // `corrupt` unless the last frame is whole.
    Result<> finish();

  private:
    const MutableByteView piece_;
    const std::function<void(ByteView)> each_;
    std::size_t used_ = 0;  // of the piece
    std::size_t hint_ = 1;  // of zstd: 0 at the end of a frame
};
// The same into a buffer of its own. Lengths that no zstd data of that size can have are refused
// before allocating.
Result<Bytes> decompress_blob(ByteView frames, std::uint32_t plain_length);

// Unpacked files (index, snapshot, lock) after unsealing. Version 1: the bytes are JSON. Version 2:
// 0x02 and zstd, or JSON that starts with { or [; empty stays empty.
Result<Bytes> decode_unpacked(Bytes plaintext, unsigned version,
                              std::size_t most = kMostUnpackedBytes);
// The inverse, ready to be sealed.
Bytes encode_unpacked(ByteView json, unsigned version, int level = kUnpackedLevel);

}  // namespace backup
