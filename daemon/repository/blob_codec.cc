#include "daemon/repository/blob_codec.h"

#include <array>
#include <atomic>
#include <cstring>

#include "common/log.h"
#include "daemon/repository/compression.h"

namespace backup {

namespace {

constexpr std::size_t kMostKept = std::size_t{4} << 20;

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
    MutableByteView buffer = room(scratch().sealed, bound + kSealOverhead);
    MutableByteView payload = buffer.subspan(kIvBytes);
    std::size_t length = 0;
    fault_point(EncodeStage::plaintext, plaintext);
    if (options.version >= 2) {
        length = compress_to(payload.first(bound), plaintext, options.level);
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

Result<> open_blob(const MasterKey& key, ByteView sealed, std::uint32_t uncompressed_length,
                   Bytes& out) {
    if (sealed.size() < kSealOverhead) return Error(ErrorKind::corrupt, "shorter than any blob");
    const std::size_t payload = sealed.size() - kSealOverhead;
    if (uncompressed_length == 0) return key.unseal_into(room(out, payload), sealed);
    MutableByteView opened = room(scratch().opened, payload);
    TRY(key.unseal_into(opened, sealed));
    // A zstd block makes at most 128 KiB out of 4 bytes: a length beyond that is a lie, and would
    // cost memory.
    if (uncompressed_length > (payload / 4 + 1) * (std::size_t{128} << 10))
        return Error(ErrorKind::corrupt, "impossible uncompressed length");
    return decompress_to(room(out, uncompressed_length), opened);
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
        Bytes& plain = scratch().plain;
        Result<> good = open_blob(key, encoded.sealed, encoded.uncompressed_length, plain);
        if (good.ok() && plaintext_sum(plain) == sum) return encoded;
        if (good.ok()) good = Error(ErrorKind::corrupt, "other content");
        if (attempt == 1)
            return Error(ErrorKind::io, "blob " + handle.id.short_hex() +
                                            " does not decode to what was encoded (" +
                                            good.error().message() + "): is the memory faulty?");
        log_warning("a blob just encoded did not decode, encoding it again: is the memory faulty?");
    }
}

Result<> decode_blob(const MasterKey& key, const BlobHandle& handle, ByteView sealed,
                     std::uint32_t uncompressed_length, Bytes& out) {
    TRY(open_blob(key, sealed, uncompressed_length, out));
    if (blob_id(out) != handle.id)
        return Error(ErrorKind::corrupt, "content does not match its id");
    return {};
}

// Four lanes, so that the multiplications overlap: about 30 GB/s. Every step is invertible, so a
// single difference always shows.
std::uint64_t plaintext_sum(ByteView plaintext) {
    constexpr std::uint64_t kFactor = 0x9e3779b97f4a7c15;
    std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
    std::size_t at = 0;
    for (; at + 32 <= plaintext.size(); at += 32) {
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint64_t word = 0;
            std::memcpy(&word, plaintext.data() + at + 8 * i, 8);
            lanes[i] = (lanes[i] ^ word) * kFactor;
        }
    }
    std::uint64_t sum = plaintext.size();
    for (; at < plaintext.size(); ++at) sum = (sum ^ plaintext[at]) * kFactor;
    for (std::uint64_t lane : lanes) sum = (sum ^ lane) * kFactor;
    return sum;
}

}  // namespace backup
