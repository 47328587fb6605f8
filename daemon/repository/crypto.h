// Sealing and hashing: AES-256-CTR with Poly1305-AES, and SHA-256, over OpenSSL. The format:
//
//     IV (16 random bytes) || ciphertext || MAC (16 bytes)          MAC = Poly1305-AES of the
//     ciphertext, nonce IV
//
// MasterKey is immutable, so any number of threads may use one; the OpenSSL contexts are per thread
// and reused, nothing is allocated per call but the output. Failure of OpenSSL itself or of
// getrandom ends the process: going on could write data that nobody can open.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "common/bytes.h"
#include "common/id.h"
#include "common/result.h"

namespace backup {

inline constexpr std::size_t kIvBytes = 16;
inline constexpr std::size_t kMacBytes = 16;
inline constexpr std::size_t kSealOverhead = kIvBytes + kMacBytes;
inline constexpr std::size_t kKeyBytes = 64;  // encrypt 32, mac k 16, mac r 16

// From getrandom.
void fill_random(MutableByteView out);

// Serves for the master key of a repository as well as for the key derived from a password. Wiped
// when it goes.
class MasterKey {
  public:
    static MasterKey generate();
    // encrypt (32) || k (16) || r (16), as scrypt gives it; r is clamped. `corrupt` if a part is
    // all zero.
    static Result<MasterKey> from_bytes(ByteView key);
    MasterKey(MasterKey&& other) noexcept;
    MasterKey& operator=(MasterKey&& other) noexcept;
    MasterKey(const MasterKey&) = delete;
    MasterKey& operator=(const MasterKey&) = delete;
    ~MasterKey();

    // `buffer` is kIvBytes of space, the plaintext, kMacBytes of space; afterwards the sealed form.
    void seal_in_place(MutableByteView buffer) const;
    // Appends the sealed form; allocates only when `out` lacks capacity. `plaintext` must not lie
    // in `out`.
    void seal_into(Bytes& out, ByteView plaintext) const;
    Bytes seal(ByteView plaintext) const;

    // All of them verify the MAC first and decrypt only what is genuine; `corrupt` otherwise.
    // `out` has sealed.size() - kSealOverhead bytes and does not overlap `sealed`.
    Result<> unseal_into(MutableByteView out, ByteView sealed) const;
    // The plaintext in pieces of piece.size() bytes (the last may be shorter), for what need not be
    // in memory twice. `each` may not seal or unseal anything itself.
    Result<> unseal_pieces(ByteView sealed, MutableByteView piece,
                           const std::function<void(ByteView)>& each) const;
    // Decrypts where it is; the plaintext is a part of `sealed`.
    Result<MutableByteView> unseal_in_place(MutableByteView sealed) const;
    Result<Bytes> unseal(ByteView sealed) const;

    // For the key file. The parts are secret: wipe copies.
    ByteView encrypt_part() const { return ByteView(key_).first(32); }
    ByteView mac_k_part() const { return ByteView(key_).subspan(32, 16); }
    ByteView mac_r_part() const { return ByteView(key_).last(16); }

    // For test vectors only: everybody else gets a fresh IV from getrandom.
    void seal_with_iv_for_test(MutableByteView buffer, ByteView iv) const;

  private:
    MasterKey() = default;
    void seal_with(MutableByteView buffer) const;
    Result<> verify(ByteView sealed) const;

    std::array<std::uint8_t, kKeyBytes> key_{};
    std::uint64_t serial_ = 0;  // tells the contexts of a thread whose key schedule they hold
};

using Sha256Digest = std::array<std::uint8_t, 32>;
Sha256Digest sha256(ByteView data);

// In pieces. Movable; one thread at a time.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;
    void update(ByteView data);
    // The digest of all updates; the object starts anew.
    Sha256Digest finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

// The name of a file in a repository: the SHA-256 of its stored bytes. FileId, PackId, IndexId, ...
template <typename IdType = FileId>
IdType content_id(ByteView stored) {
    return IdType{sha256(stored)};
}

}  // namespace backup
