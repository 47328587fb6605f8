#include "daemon/repository/compression.h"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include <zstd.h>

namespace backup {

namespace {

constexpr std::uint8_t kCompressedMark = 2;  // first byte of compressed unpacked files in version 2
// A zstd block makes at most 128 KiB out of at least 4 bytes (a run of one byte).
constexpr std::uint64_t kMostPerBlock = 128 * 1024;
constexpr std::uint64_t kLeastBlock = 4;
constexpr int kMostWindowLog = 27;  // 128 MiB, what every known writer stays within

struct FreeZstd {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "fatal: zstd: %s\n", what);
    std::abort();
}

class Compressor {
  public:
    Compressor() : context_(ZSTD_createCCtx()) {
        if (!context_) die("out of memory");
        // Content size on and checksum off are the defaults; said here because the format wants
        // them.
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_contentSizeFlag, 1);
        ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 0);
    }
    std::size_t run(MutableByteView out, ByteView plain, int level) {
        if (level != level_) {
            ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
            level_ = level;
        }
        std::size_t size =
            ZSTD_compress2(context_.get(), out.data(), out.size(), plain.data(), plain.size());
        if (ZSTD_isError(size)) die(ZSTD_getErrorName(size));  // the room was enough: out of memory
        return size;
    }

  private:
    std::unique_ptr<ZSTD_CCtx, FreeZstd> context_;
    int level_ = 0;
};

ZSTD_DCtx* decompressor() {
    static thread_local const std::unique_ptr<ZSTD_DCtx, FreeZstd> context = [] {
        std::unique_ptr<ZSTD_DCtx, FreeZstd> made(ZSTD_createDCtx());
        if (!made) die("out of memory");
        ZSTD_DCtx_setParameter(made.get(), ZSTD_d_windowLogMax, kMostWindowLog);
        return made;
    }();
    return context.get();
}

Error zstd_error(std::size_t code) {
    return Error(ErrorKind::corrupt,
                 std::string("compressed data is damaged: ") + ZSTD_getErrorName(code));
}

bool is_plausible(std::uint64_t plain_length, std::size_t compressed_length) {
    return plain_length <= (compressed_length / kLeastBlock + 1) * kMostPerBlock;
}

// For lengths that are not known beforehand: what the frame claims is only where the buffer starts.
Result<Bytes> decompress_growing(ByteView frames, std::size_t most) {
    constexpr std::size_t kFirstGuess = std::size_t{256} << 10;
    std::uint64_t claimed = ZSTD_getFrameContentSize(frames.data(), frames.size());
    bool is_claimed = claimed != ZSTD_CONTENTSIZE_UNKNOWN && claimed != ZSTD_CONTENTSIZE_ERROR &&
                      claimed <= most && is_plausible(claimed, frames.size());
    Bytes out(is_claimed ? static_cast<std::size_t>(claimed) : std::min(kFirstGuess, most));

    ZSTD_DCtx* context = decompressor();
    ZSTD_DCtx_reset(context, ZSTD_reset_session_only);
    ZSTD_inBuffer in{frames.data(), frames.size(), 0};
    std::size_t used = 0;
    std::size_t hint = 1;  // 0 at the end of a frame
    while (true) {
        ZSTD_outBuffer room{out.data() + used, out.size() - used, 0};
        std::size_t before = in.pos;
        hint = ZSTD_decompressStream(context, &room, &in);
        if (ZSTD_isError(hint)) return zstd_error(hint);
        used += room.pos;
        if (in.pos == in.size && hint == 0) break;
        if (used == out.size()) {
            // Full, and there may be more: an empty rest of the frame needs room to show itself,
            // too.
            if (out.size() > most)
                return Error(ErrorKind::corrupt, "decompressed data is too large");
            out.resize(std::min(std::max(out.size() * 2, kFirstGuess), most + 1));
        } else if (in.pos == before && room.pos == 0) {
            return Error(ErrorKind::corrupt, "compressed data is cut short");
        }
    }
    if (used > most) return Error(ErrorKind::corrupt, "decompressed data is too large");
    out.resize(used);
    return out;
}

}  // namespace

int blob_compression_level(int level, std::size_t plain_bytes) {
    return level == kDefaultCompressionLevel && plain_bytes <= kSmallBlobBytes ? kSmallBlobLevel
                                                                               : level;
}

std::size_t compress_bound(std::size_t bytes) {
    return ZSTD_compressBound(bytes);
}

std::size_t compress_to(MutableByteView out, ByteView plain, int level) {
    assert(out.size() >= compress_bound(plain.size()));
    static thread_local Compressor compressor;
    return compressor.run(out, plain, level);
}

void compress_into(Bytes& out, ByteView plain, int level) {
    std::size_t begin = out.size();
    std::size_t needed = begin + compress_bound(plain.size());
    if (out.capacity() < needed) out.reserve(std::max(needed, begin + begin / 2));
    out.resize(needed);
    out.resize(begin + compress_to(MutableByteView(out).subspan(begin), plain, level));
}

Result<> decompress_to(MutableByteView out, ByteView frames) {
    std::uint8_t nothing = 0;  // zstd wants an address even for no bytes
    std::size_t size = ZSTD_decompressDCtx(decompressor(), out.empty() ? &nothing : out.data(),
                                           out.size(), frames.data(), frames.size());
    if (ZSTD_isError(size)) return zstd_error(size);
    if (size != out.size())
        return Error(ErrorKind::corrupt, "decompressed data has the wrong length");
    return {};
}

PieceDecompressor::PieceDecompressor(MutableByteView piece, std::function<void(ByteView)> each)
    : piece_(piece), each_(std::move(each)) {
    assert(!piece_.empty());
    ZSTD_DCtx_reset(decompressor(), ZSTD_reset_session_only);
}

Result<> PieceDecompressor::feed(ByteView frames) {
    ZSTD_DCtx* context = decompressor();
    ZSTD_inBuffer in{frames.data(), frames.size(), 0};
    // A full piece may mean that there is more to come out, even when all of `in` was taken.
    for (bool was_full = true; in.pos < in.size || was_full;) {
        ZSTD_outBuffer room{piece_.data() + used_, piece_.size() - used_, 0};
        hint_ = ZSTD_decompressStream(context, &room, &in);
        if (ZSTD_isError(hint_)) return zstd_error(hint_);
        used_ += room.pos;
        was_full = used_ == piece_.size();
        if (was_full) {
            each_(piece_);
            used_ = 0;
        }
        if (hint_ == 0 && in.pos == in.size) break;
    }
    return {};
}

Result<> PieceDecompressor::finish() {
    if (hint_ != 0) return Error(ErrorKind::corrupt, "compressed data is cut short");
    if (used_ != 0) each_(piece_.first(used_));
    used_ = 0;
    return {};
}

Result<Bytes> decompress_blob(ByteView frames, std::uint32_t plain_length) {
    if (!is_plausible(plain_length, frames.size()))
        return Error(ErrorKind::corrupt, "compressed data cannot have that length");
    Bytes out(plain_length);
    TRY(decompress_to(out, frames));
    return out;
}

Result<Bytes> decode_unpacked(Bytes plaintext, unsigned version, std::size_t most) {
    if (plaintext.size() > most) return Error(ErrorKind::corrupt, "file is too large");
    if (version == 1 || plaintext.empty() || plaintext[0] == '{' || plaintext[0] == '[')
        return plaintext;
    if (plaintext[0] != kCompressedMark)
        return Error(ErrorKind::corrupt, "file is neither JSON nor compressed");
    return decompress_growing(ByteView(plaintext).subspan(1), most);
}

Bytes encode_unpacked(ByteView json, unsigned version, int level) {
    if (version == 1) return to_bytes(json);
    Bytes out;
    out.reserve(1 + compress_bound(json.size()));
    out.push_back(kCompressedMark);
    compress_into(out, json, level);
    return out;
}

}  // namespace backup
