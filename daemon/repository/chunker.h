// Chunker finds where a file is cut: content-defined, the same places as restic with the same
// polynomial.
//
// A chunk ends at the first position, at least 512 KiB after its start, where the Rabin fingerprint
// of the last 64 bytes has 20 zero bits; after 8 MiB at the latest; at the end of the file in any
// case. Not thread-safe; one object per reader. The tables of a polynomial (4 KiB) are made once
// and shared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/bytes.h"
#include "common/id.h"

namespace backup {

inline constexpr std::size_t kMinChunk = 512 * 1024;
inline constexpr std::size_t kMaxChunk = 8 * 1024 * 1024;
inline constexpr std::size_t kChunkWindow = 64;

// A run of zeros is cut every kMinChunk bytes, with any polynomial. As long as at least
// kZeroChunkLength bytes of a chunk's start are known to be zero (a hole), the cut and its id are
// known without reading or hashing. A shorter rest of a hole belongs to the next chunk together
// with what follows.
inline constexpr std::size_t kZeroChunkLength = kMinChunk;
const BlobId& zero_chunk_id();

struct ChunkerTables {
    std::array<std::uint64_t, 256>
        mod;  // what reduces a digest whose top byte is b; clears that byte
    // What byte b adds to a digest after it and 64 more bytes went in. Taken out after the new byte
    // went in: the look-up then depends on the data alone, not on the digest before it.
    std::array<std::uint64_t, 256> out;
};
// Kept for the life of the process: one entry per polynomial ever used. Thread-safe.
std::shared_ptr<const ChunkerTables> chunker_tables(std::uint64_t polynomial);

class Chunker {
  public:
    // `polynomial` must satisfy is_chunker_polynomial().
    explicit Chunker(std::uint64_t polynomial);

    // `data` is all that has been read from the start of the current chunk on (kMaxChunk bytes are
    // always enough). Returns the length of the chunk, or 0 when more data is needed. At the end of
    // the file the rest is the last chunk, and 0 means that nothing is left. After a 0 call again
    // with the same bytes and more behind them: what was looked at is not looked at again. After a
    // cut the next call begins a new chunk at the byte behind it.
    std::size_t next_cut(ByteView data, bool end_of_file);

    // Forgets the current chunk: the next call begins a new one, of another file or after a hole.
    void reset() { scanned_ = 0; }

  private:
    std::shared_ptr<const ChunkerTables> tables_;
    std::size_t scanned_ = 0;  // no cut ends at or before this length
};

// The same rule written down plainly, byte by byte: what tests, fuzzing and benchmarks compare
// with. Never 0 for data.
std::size_t reference_cut(ByteView data, std::uint64_t polynomial);

}  // namespace backup
