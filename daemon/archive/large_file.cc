#include "daemon/archive/large_file.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>

#include <fcntl.h>
#include <unistd.h>

namespace backup {

namespace {
constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint64_t>::max();
}

LargeFileReader::LargeFileReader(Fs& fs, std::uint64_t polynomial)
    : fs_(fs), chunker_(polynomial) {}

// Holes end at the size that the file had when it was opened; behind it a plain read finds the end.
Result<LargeFileReader::Region> LargeFileReader::region_at(int fd, std::uint64_t position,
                                                           const struct statx& status) const {
    bool sparse = status.stx_blocks * 512 < status.stx_size;
    Region all{false, kUnbounded};
    if (!sparse) return all;
    auto at = static_cast<std::int64_t>(position);
    Region region = all;
    if (position < status.stx_size) {
        std::int64_t data = fs_.seek(fd, at, SEEK_DATA);
        if (data == -ENXIO) {
            region = {true, status.stx_size};
        } else if (data > at) {
            region = {true,
                      std::min<std::uint64_t>(static_cast<std::uint64_t>(data), status.stx_size)};
        } else if (data == at) {
            std::int64_t hole = fs_.seek(fd, at, SEEK_HOLE);
            if (hole > at) region = {false, static_cast<std::uint64_t>(hole)};
        }
    }
    if (!region.is_hole) {
        std::int64_t sought = fs_.seek(fd, at, SEEK_SET);
        if (sought < 0) return Error::from_errno(static_cast<int>(-sought), "seek");
    }
    return region;
}

LargeFileReader::Read LargeFileReader::read(int fd, const struct statx& status, std::uint64_t begin,
                                            const Output& output) {
    Read result;
    result.bytes = begin;
    Region region{false, begin};  // unknown yet
    ChunkBuffer* buffer = nullptr;
    std::size_t filled = 0;  // of the buffer: the chunk so far and what was read beyond it
    bool at_end = false;
    auto give_up = [&](int error) {
        output.release(buffer);
        result.error = error;
        return result;
    };
    chunker_.reset();
    rest_.resize(kRead);
    if (begin != 0) {
        std::int64_t sought = fs_.seek(fd, static_cast<std::int64_t>(begin), SEEK_SET);
        if (sought < 0) return give_up(static_cast<int>(sought));
    }
    while (!at_end || filled > 0) {
        if (!at_end && result.bytes == region.end) {
            auto next = region_at(fd, result.bytes, status);
            if (!next.ok()) return give_up(-next.error().os_error());
            region = *next;
        }
        std::uint64_t left = region.end - result.bytes;
        if (!at_end && filled == 0 && region.is_hole && left >= kZeroChunkLength) {
            if (!output.zero_chunk()) {
                result.ended = true;
                return give_up(0);
            }
            result.bytes += kZeroChunkLength;
            continue;
        }
        if (buffer == nullptr) {
            buffer = output.buffer();
            if (buffer == nullptr) {
                result.ended = true;
                return result;
            }
            if (filled > 0) std::memcpy(buffer->data(), rest_.data(), filled);
        }
        if (!at_end) {
            std::uint64_t room = std::min<std::uint64_t>(kRead, ChunkBuffer::kCapacity - filled);
            std::uint64_t size = std::min(room, left);
            if (region.is_hole) {
                // Just far enough for a cut, so that the next chunk begins inside the hole and
                // need not be made of bytes.
                std::uint64_t to_cut =
                    filled < kMinChunk ? kMinChunk - filled : std::uint64_t{kChunkWindow};
                size = std::min(size, to_cut);
                std::memset(buffer->data() + filled, 0, size);
            } else {
                ssize_t got = fs_.read(fd, {buffer->data() + filled, size});
                if (got < 0) return give_up(static_cast<int>(got));
                at_end = got == 0;
                size = static_cast<std::uint64_t>(got);
                result.bytes_from_disk += size;
            }
            filled += size;
            result.bytes += size;
            buffer->touched(filled);
        }
        if (filled < kMinChunk && !at_end) continue;
        std::size_t cut = chunker_.next_cut({buffer->data(), filled}, at_end);
        if (cut == 0) continue;  // at the end: only when nothing is left
        std::size_t beyond = filled - cut;
        assert(beyond <= kRead);
        std::memcpy(rest_.data(), buffer->data() + cut, beyond);
        output.chunk(buffer, cut);
        buffer = nullptr;
        filled = beyond;
    }
    output.release(buffer);
    return result;
}

}  // namespace backup
