// Between a blob's plaintext and its sealed form in a pack. Stateless for the caller; scratch
// memory belongs to the thread and is reused from call to call (kept up to 4 MiB per buffer), so
// nothing is allocated per blob. Any thread.
#pragma once

#include <array>
#include <cstdint>

#include "common/result.h"
#include "daemon/repository/blob.h"
#include "daemon/repository/crypto.h"

namespace backup {

struct EncodedBlob {
    ByteView sealed;                        // in memory of this thread, valid until its next call
    std::uint32_t uncompressed_length = 0;  // 0: stored raw
};

// A quick sum of a plaintext, taken before it is hashed and compared with that of what was decoded:
// finds any flipped bit, in the plaintext as well as in what was made of it, at a twentieth of the
// price of a second SHA-256. No protection against anybody: that is what MAC and id are for.
std::uint64_t plaintext_sum(ByteView plaintext);
// The same in pieces; all but the last have a multiple of 32 bytes.
class PlaintextSum {
  public:
    void update(ByteView piece);
    std::uint64_t finish() const;

  private:
    std::array<std::uint64_t, 4> lanes_{1, 2, 3, 4};
    std::uint64_t rest_ = 0, size_ = 0;
};

struct EncodeOptions {
    unsigned version = 2;
    int level = 3;
    bool verify = true;
};

// Version 2: trees are always compressed, data where it helps. With `verify` the sealed form is
// opened, decompressed and compared with `sum`; a difference is tried once more from the plaintext,
// then it is `io`: the memory of the machine cannot be trusted.
Result<EncodedBlob> encode_blob(const MasterKey& key, const BlobHandle& handle, ByteView plaintext,
                                std::uint64_t sum, const EncodeOptions& options);

// Verifies MAC, decompressed length and id. `out` becomes the plaintext; it is only meaningful on
// success. `corrupt` otherwise. With a `lead` it begins that many bytes into `out`.
Result<> decode_blob(const MasterKey& key, const BlobHandle& handle, ByteView sealed,
                     std::uint32_t uncompressed_length, Bytes& out, std::size_t lead = 0);

// The same, decrypting where the sealed form is: one buffer less for what is compressed. What
// `sealed` holds afterwards, also when it fails, is of no use.
Result<> decode_blob_in_place(const MasterKey& key, const BlobHandle& handle,
                              MutableByteView sealed, std::uint32_t uncompressed_length, Bytes& out,
                              std::size_t lead = 0);

// The same for whoever does not want the plaintext: a blob that unpacks to gigabytes costs no more
// memory than its sealed form.
Result<> check_blob(const MasterKey& key, const BlobHandle& handle, ByteView sealed,
                    std::uint32_t uncompressed_length);

// Tests flip bits between the stages: called, if set, with the bytes that a stage is about to use.
enum class EncodeStage : std::uint8_t { plaintext, compressed, sealed };
using EncodeFault = void (*)(EncodeStage stage, ByteView bytes);
void set_encode_fault_for_test(EncodeFault fault);

}  // namespace backup
