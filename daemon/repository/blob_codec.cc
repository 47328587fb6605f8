#include "daemon/repository/blob_codec.h"

#include <atomic>
#include <cstring>

#include "common/log.h"
#include "daemon/repository/compression.h"

namespace backup {

namespace {

constexpr std::size_t kMostKept = std::size_t{4} << 20;
// Above this a blob is verified in pieces: neither a long chunk nor the tree of a huge directory is
// held twice.
constexpr std::size_t kMostWhole = std::size_t{1} << 20;
// Checked in pieces from here on; whole is faster, and no common chunk is longer.
constexpr std::size_t kMostCheckedWhole = std::size_t{8} << 20;
constexpr std::size_t kPiece = std::size_t{128} << 10;
constexpr std::uint64_t kSumFactor = 0x9e3779b97f4a7c15;

struct Scratch {
    Bytes sealed, opened, plain;
};

Scratch& scratch() {
    thread_local Scratch mine;
    return mine;
}

// Not a plain resize: that would copy what is of no use any more.
MutableByteView room(Bytes& buffer, std::size_t bytes) {
    if (buffer.capacity() > kMostKept && bytes <= kMostKept) Bytes().swap(buffer);
    buffer.clear();
    buffer.resize(bytes);
    return buffer;
}

// The same where only the bytes count and not the size of the buffer: nothing is set to zero.
MutableByteView scratch_room(Bytes& buffer, std::size_t bytes) {
    if (buffer.capacity() > kMostKept && bytes <= kMostKept) Bytes().swap(buffer);
    if (buffer.size() < bytes) return room(buffer, bytes);
    return MutableByteView(buffer).first(bytes);
}

std::atomic<EncodeFault> encode_fault{nullptr};

void fault_point(EncodeStage stage, ByteView bytes) {
    if (EncodeFault fault = encode_fault.load(std::memory_order_relaxed)) fault(stage, bytes);
}

// Compression has to pay: reading decompresses each time.
bool is_worth_it(std::size_t compressed, std::size_t plain) {
    return compressed + plain / 64 < plain;
}

EncodedBlob encode_once(const MasterKey& key, BlobType type, ByteView plaintext,
                        const EncodeOptions& options) {
    EncodedBlob encoded;
    const std::size_t bound =
        options.version >= 2 ? compress_bound(plaintext.size()) : plaintext.size();
    MutableByteView buffer = scratch_room(scratch().sealed, bound + kSealOverhead);
    MutableByteView payload = buffer.subspan(kIvBytes);
    std::size_t length = 0;
    fault_point(EncodeStage::plaintext, plaintext);
    if (options.version >= 2) {
        length = compress_to(payload.first(bound), plaintext,
                             blob_compression_level(options.level, plaintext.size()));
        if (type == BlobType::tree || is_worth_it(length, plaintext.size()))
            encoded.uncompressed_length = static_cast<std::uint32_t>(plaintext.size());
    }
    if (encoded.uncompressed_length == 0) {
        length = plaintext.size();
        std::memcpy(payload.data(), plaintext.data(), length);
    }
    fault_point(EncodeStage::compressed, payload.first(length));
    MutableByteView sealed = buffer.first(length + kSealOverhead);
    key.seal_in_place(sealed);
    fault_point(EncodeStage::sealed, sealed);
    encoded.sealed = sealed;
    return encoded;
}

// A zstd block makes at most 128 KiB out of 4 bytes: a length beyond that is a lie, and would cost
// memory.
bool is_possible(std::size_t payload, std::uint32_t uncompressed_length) {
    return uncompressed_length <= (payload / 4 + 1) * (std::size_t{128} << 10);
}

Result<> unpack(ByteView opened, std::uint32_t uncompressed_length, Bytes& out, std::size_t lead) {
    if (!is_possible(opened.size(), uncompressed_length))
        return Error(ErrorKind::corrupt, "impossible uncompressed length");
    return decompress_to(room(out, lead + uncompressed_length).subspan(lead), opened);
}

Result<> open_blob(const MasterKey& key, ByteView sealed, std::uint32_t uncompressed_length,
                   Bytes& out, std::size_t lead) {
    if (sealed.size() < kSealOverhead) return Error(ErrorKind::corrupt, "shorter than any blob");
    const std::size_t payload = sealed.size() - kSealOverhead;
    if (uncompressed_length == 0)
        return key.unseal_into(room(out, lead + payload).subspan(lead), sealed);
    MutableByteView opened = scratch_room(scratch().opened, payload);
    TRY(key.unseal_into(opened, sealed));
    return unpack(opened, uncompressed_length, out, lead);
}

Result<> expect_id(const BlobHandle& handle, ByteView plaintext) {
    if (blob_id(plaintext) != handle.id)
        return Error(ErrorKind::corrupt, "content does not match its id");
    return {};
}

Result<> expect_sum(const PlaintextSum& found, std::uint64_t sum) {
    if (found.finish() != sum) return Error(ErrorKind::corrupt, "other content");
    return {};
}

Result<> verify_blob(const MasterKey& key, const EncodedBlob& encoded, std::uint64_t sum) {
    PlaintextSum found;
    if (encoded.uncompressed_length == 0) {
        TRY(key.unseal_pieces(encoded.sealed, scratch_room(scratch().plain, kPiece),
                              [&](ByteView piece) { found.update(piece); }));
        return expect_sum(found, sum);
    }
    if (encoded.uncompressed_length > kMostWhole) {
        PieceDecompressor pieces(scratch_room(scratch().plain, kPiece),
                                 [&](ByteView piece) { found.update(piece); });
        Result<> fed;
        TRY(key.unseal_pieces(encoded.sealed, scratch_room(scratch().opened, kPiece),
                              [&](ByteView piece) {
                                  if (fed.ok()) fed = pieces.feed(piece);
                              }));
        TRY(std::move(fed));
        TRY(pieces.finish());
        return expect_sum(found, sum);
    }
    MutableByteView opened = scratch_room(scratch().opened, encoded.sealed.size() - kSealOverhead);
    TRY(key.unseal_into(opened, encoded.sealed));
    MutableByteView plain = scratch_room(scratch().plain, encoded.uncompressed_length);
    TRY(decompress_to(plain, opened));
    found.update(plain);
    return expect_sum(found, sum);
}

}  // namespace

void set_encode_fault_for_test(EncodeFault fault) {
    encode_fault.store(fault);
}

Result<EncodedBlob> encode_blob(const MasterKey& key, const BlobHandle& handle, ByteView plaintext,
                                std::uint64_t sum, const EncodeOptions& options) {
    // Offsets and lengths in a pack are 32 bits wide.
    if (plaintext.size() > (std::size_t{1} << 32) - (std::size_t{1} << 26))
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "a blob of 4 GiB cannot be stored");
    for (int attempt = 0;; ++attempt) {
        EncodedBlob encoded = encode_once(key, handle.type, plaintext, options);
        if (!options.verify) return encoded;
        Result<> good = verify_blob(key, encoded, sum);
        if (good.ok()) return encoded;
        if (attempt == 1)
            return Error(ErrorKind::io, "blob " + handle.id.short_hex() +
                                            " does not decode to what was encoded (" +
                                            good.error().message() + "): is the memory faulty?");
        log_warning("a blob just encoded did not decode, encoding it again: is the memory faulty?");
    }
}

Result<> decode_blob(const MasterKey& key, const BlobHandle& handle, ByteView sealed,
                     std::uint32_t uncompressed_length, Bytes& out, std::size_t lead) {
    TRY(open_blob(key, sealed, uncompressed_length, out, lead));
    return expect_id(handle, ByteView(out).subspan(lead));
}

Result<> decode_blob_in_place(const MasterKey& key, const BlobHandle& handle,
                              MutableByteView sealed, std::uint32_t uncompressed_length, Bytes& out,
                              std::size_t lead) {
    // What is not compressed goes to `out` all the same, where it is aligned.
    if (uncompressed_length == 0) return decode_blob(key, handle, sealed, 0, out, lead);
    if (sealed.size() < kSealOverhead) return Error(ErrorKind::corrupt, "shorter than any blob");
    const MutableByteView opened = TRY(key.unseal_in_place(sealed));
    TRY(unpack(opened, uncompressed_length, out, lead));
    return expect_id(handle, ByteView(out).subspan(lead));
}

Result<> check_blob(const MasterKey& key, const BlobHandle& handle, ByteView sealed,
                    std::uint32_t uncompressed_length) {
    if (uncompressed_length <= kMostCheckedWhole)
        return decode_blob(key, handle, sealed, uncompressed_length, scratch().plain);
    if (sealed.size() < kSealOverhead) return Error(ErrorKind::corrupt, "shorter than any blob");
    if (!is_possible(sealed.size() - kSealOverhead, uncompressed_length))
        return Error(ErrorKind::corrupt, "impossible uncompressed length");
    Sha256 hash;
    std::uint64_t bytes = 0;
    PieceDecompressor pieces(scratch_room(scratch().plain, kPiece), [&](ByteView piece) {
        bytes += piece.size();
        if (bytes <= uncompressed_length) hash.update(piece);
    });
    Result<> fed;
    TRY(key.unseal_pieces(sealed, scratch_room(scratch().opened, kPiece), [&](ByteView piece) {
        if (fed.ok() && bytes <= uncompressed_length) fed = pieces.feed(piece);
    }));
    TRY(std::move(fed));
    if (bytes <= uncompressed_length) TRY(pieces.finish());
    if (bytes != uncompressed_length)
        return Error(ErrorKind::corrupt, "another length than was promised");
    if (BlobId{hash.finish()} != handle.id)
        return Error(ErrorKind::corrupt, "content does not match its id");
    return {};
}

// Four lanes, so that the multiplications overlap: about 30 GB/s. Every step is invertible, so a
// single difference always shows.
void PlaintextSum::update(ByteView piece) {
    std::array<std::uint64_t, 4> lanes = lanes_;
    std::size_t at = 0;
    for (; at + 32 <= piece.size(); at += 32) {
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint64_t word = 0;
            std::memcpy(&word, piece.data() + at + 8 * i, 8);
            lanes[i] = (lanes[i] ^ word) * kSumFactor;
        }
    }
    lanes_ = lanes;
    for (; at < piece.size(); ++at) rest_ = (rest_ ^ piece[at]) * kSumFactor;
    size_ += piece.size();
}

std::uint64_t PlaintextSum::finish() const {
    std::uint64_t sum = (rest_ ^ size_) * kSumFactor;
    for (std::uint64_t lane : lanes_) sum = (sum ^ lane) * kSumFactor;
    return sum;
}

std::uint64_t plaintext_sum(ByteView plaintext) {
    PlaintextSum sum;
    sum.update(plaintext);
    return sum.finish();
}

}  // namespace backup
