#include "daemon/repository/chunker.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include "daemon/repository/polynomial.h"

namespace backup {

namespace {

constexpr std::uint64_t kSplitMask = (std::uint64_t{1} << 20) - 1;
constexpr int kTopByte = kPolynomialDegree - 8;

// Positions are tried in blocks, each block in kLanes parts at once: one lane alone waits for the
// latency of its table look-up at every byte, several lanes hide it from each other. What a later
// lane finds beyond the first cut is thrown away, so a block is small against the mean distance of
// cuts (1 MiB), and large against the 64 bytes that each lane must read before its first position.
constexpr std::size_t kLanes = 8;
constexpr std::size_t kLane =
    8000;  // no power of two: the lanes would share their sets of the cache
constexpr std::size_t kShortLane = 512;

inline std::uint64_t append(std::uint64_t digest, std::uint8_t byte, const ChunkerTables& tables) {
    const auto top = static_cast<std::uint8_t>(digest >> kTopByte);
    return (digest << 8 | byte) ^ tables.mod[top];
}

inline std::uint64_t slide(std::uint64_t digest, std::uint8_t leaves, std::uint8_t enters,
                           const ChunkerTables& tables) {
    return append(digest, enters, tables) ^ tables.out[leaves];
}

// Fingerprint of the 64 bytes before `end`.
std::uint64_t window_digest(const std::uint8_t* end, const ChunkerTables& tables) {
    std::uint64_t digest = 0;
    for (const std::uint8_t* at = end - kChunkWindow; at != end; ++at) {
        digest = append(digest, *at, tables);
    }
    return digest;
}

// The first e in (begin, end] at which a chunk may end; `end + 1` for none. begin >= kChunkWindow.
std::size_t scan_one(const std::uint8_t* data, std::size_t begin, std::size_t end,
                     const ChunkerTables& tables) {
    std::uint64_t digest = window_digest(data + begin, tables);
    for (std::size_t at = begin; at < end; ++at) {
        digest = slide(digest, data[at - kChunkWindow], data[at], tables);
        if ((digest & kSplitMask) == 0) return at + 1;
    }
    return end + 1;
}

// Out of line, so that the loop below has a branch that is never taken instead of eight conditional
// moves.
[[gnu::noinline, gnu::cold]] void keep_first(std::size_t& first, std::size_t candidate) {
    first = std::min(first, candidate);
}

// The same for kLanes parts of kLength bytes each, from `begin` on. The length is a constant so
// that one pointer serves all lanes, and all digests stay in registers.
template <std::size_t kLength>
std::size_t scan_lanes(const std::uint8_t* data, std::size_t begin, const ChunkerTables& tables) {
    const std::uint8_t* const start = data + begin;
    std::uint64_t digest[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) {
        digest[i] = window_digest(start + i * kLength, tables);
    }
    std::size_t first = kLanes * kLength + 1;  // the first cut so far, relative to `begin`
    for (std::size_t at = 0; at < kLength; ++at) {
        const std::uint8_t* const here = start + at;
#pragma GCC unroll 8
        for (std::size_t i = 0; i < kLanes; ++i) {
            const std::uint8_t* const byte = here + i * kLength;
            digest[i] = slide(digest[i], byte[-std::ptrdiff_t{kChunkWindow}], *byte, tables);
            if ((digest[i] & kSplitMask) == 0) [[unlikely]] {
                keep_first(first, i * kLength + at + 1);
            }
        }
        // Only earlier lanes can still find an earlier cut.
        if (first <= kLength) [[unlikely]]
            break;
    }
    return begin + first;
}

std::size_t scan(const std::uint8_t* data, std::size_t begin, std::size_t end,
                 const ChunkerTables& tables) {
    while (end - begin >= kLanes * kLane) {
        const std::size_t cut = scan_lanes<kLane>(data, begin, tables);
        begin += kLanes * kLane;
        if (cut <= begin) return cut;
    }
    while (end - begin >= kLanes * kShortLane) {
        const std::size_t cut = scan_lanes<kShortLane>(data, begin, tables);
        begin += kLanes * kShortLane;
        if (cut <= begin) return cut;
    }
    return scan_one(data, begin, end, tables);
}

ChunkerTables make_tables(std::uint64_t polynomial) {
    ChunkerTables tables{};
    for (std::uint64_t byte = 0; byte < 256; ++byte) {
        const std::uint64_t high = byte << kPolynomialDegree;
        tables.mod[byte] = polynomial_mod(high, polynomial) | high;
    }
    for (std::uint64_t byte = 0; byte < 256; ++byte) {
        std::uint64_t digest = append(0, static_cast<std::uint8_t>(byte), tables);
        for (std::size_t i = 0; i < kChunkWindow; ++i) digest = append(digest, 0, tables);
        tables.out[byte] = digest;
    }
    return tables;
}

}  // namespace

const BlobId& zero_chunk_id() {
    static const BlobId id =
        *BlobId::from_hex("07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541");
    return id;
}

std::shared_ptr<const ChunkerTables> chunker_tables(std::uint64_t polynomial) {
    static std::mutex mutex;
    static std::map<std::uint64_t, std::shared_ptr<const ChunkerTables>> known;
    std::lock_guard lock(mutex);
    auto& tables = known[polynomial];
    if (!tables) tables = std::make_shared<const ChunkerTables>(make_tables(polynomial));
    return tables;
}

Chunker::Chunker(std::uint64_t polynomial) : tables_(chunker_tables(polynomial)) {}

std::size_t Chunker::next_cut(ByteView data, bool end_of_file) {
    const std::size_t end = std::min(data.size(), kMaxChunk);
    std::size_t cut = 0;
    if (end >= kMinChunk) {
        // A cut at kMinChunk is the first one allowed: the position before it is where scanning
        // begins.
        const std::size_t begin = std::max(scanned_, kMinChunk - 1);
        cut = scan(data.data(), begin, end, *tables_);
        if (cut > end) {
            scanned_ = end;
            cut = end == kMaxChunk ? kMaxChunk : 0;
        }
    }
    if (cut == 0 && end_of_file) cut = end;
    if (cut != 0) scanned_ = 0;
    return cut;
}

std::size_t reference_cut(ByteView data, std::uint64_t polynomial) {
    const auto tables = chunker_tables(polynomial);
    std::array<std::uint8_t, kChunkWindow> window{};
    std::size_t position = 0;
    std::uint64_t digest = 0;
    const auto push = [&](std::uint8_t byte) {
        digest = slide(digest, window[position], byte, *tables);
        window[position] = byte;
        position = (position + 1) % kChunkWindow;
    };
    push(1);
    std::size_t count = kMinChunk - kChunkWindow;
    while (count < data.size()) {
        push(data[count++]);
        if (count >= kMinChunk && ((digest & kSplitMask) == 0 || count >= kMaxChunk)) return count;
    }
    return data.size();
}

}  // namespace backup
