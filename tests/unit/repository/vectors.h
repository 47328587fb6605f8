// Test vectors and repositories that restic wrote, from tests/fixtures/restic, and the generators
// of their inputs.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "common/bytes.h"
#include "tests/support/fixtures.h"

namespace backup::vectors {

inline nlohmann::json load(const std::string& name) {
    return nlohmann::json::parse(read_fixture_text(fixture("restic/" + name)));
}

inline std::string from_base64(const nlohmann::json& text) {
    const auto bytes = backup::from_base64(text.get<std::string>());
    return std::string(as_text(bytes.value()));
}

// The generator of chunker-vectors.json.
inline Bytes lcg(std::uint64_t seed, std::size_t size) {
    Bytes bytes(size);
    std::uint64_t state = seed;
    for (auto& byte : bytes) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<std::uint8_t>(state >> 56);
    }
    return bytes;
}

}  // namespace backup::vectors
