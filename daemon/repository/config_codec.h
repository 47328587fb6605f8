// The config file of a repository (its plaintext): version, id, chunker polynomial. Pure codec; no
// I/O.
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/result.h"

namespace backup {

struct RepositoryConfig {
    unsigned version = 2;
    std::string id;  // 64 hex digits
    std::uint64_t chunker_polynomial = 0;
    // Why we must not add data to it: another tool chose a chunker that we would not match. Empty:
    // we may.
    std::string write_obstacle;
};

// Version 2, a random id and a random irreducible polynomial.
Result<RepositoryConfig> make_config();
std::string encode_config(const RepositoryConfig& config);
// `invalid`/unsupported for versions other than 1 and 2, `corrupt` for everything else that is
// wrong, a reducible polynomial included.
Result<RepositoryConfig> decode_config(ByteView json);

}  // namespace backup
