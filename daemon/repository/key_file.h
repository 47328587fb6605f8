// Key files: the master key, sealed with a key that scrypt makes from a password. JSON in clear;
// nothing in it is authenticated but the sealed part, so costs are capped before scrypt runs. Pure
// functions, no I/O; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/result.h"
#include "daemon/repository/crypto.h"

namespace backup {

// What a key file costs to make; tests use a small N.
struct KeyCost {
    std::uint32_t n = 32768, r = 8, p = 0;  // p 0: measured so that scrypt takes about 500 ms
};

inline constexpr std::size_t kMostKeyMemory = std::size_t{1} << 30;  // 128 * N * r
inline constexpr std::uint32_t kMostKeyParallel = 64;
inline constexpr std::size_t kSaltBytes = 64;

struct KeyFile {
    Timestamp created{};
    std::string username, hostname;
    std::uint32_t n = 0, r = 0, p = 0;
    Bytes salt;  // kSaltBytes
    Bytes data;  // the sealed master key
};

// `corrupt` for what is no key file, `invalid`/unsupported for another KDF or a cost above the
// limits.
Result<KeyFile> decode_key_file(ByteView json, std::size_t most_memory = kMostKeyMemory);
std::string encode_key_file(const KeyFile& file);

// Runs scrypt (slow and memory hungry on purpose). `denied`/wrong_password if the password does not
// open it.
Result<MasterKey> open_key_file(const KeyFile& file, ByteView password);

struct KeyOwner {
    std::string username, hostname;
};
// Seals `key` for `password`, with a fresh salt. `invalid` for impossible costs.
Result<KeyFile> make_key_file(const MasterKey& key, ByteView password, KeyCost cost,
                              Timestamp created, const KeyOwner& owner);

// Fills in p so that opening takes about half a second here.
Result<KeyCost> measure_key_cost(KeyCost cost);

}  // namespace backup
