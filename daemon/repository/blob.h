// A blob is one piece of stored data: a chunk of a file, or a tree. Named by the SHA-256 of its
// plaintext.
#pragma once

#include <cstdint>
#include <functional>

#include "common/bytes.h"
#include "common/id.h"

namespace backup {

enum class BlobType : std::uint8_t { data = 0, tree = 1 };
const char* to_string(BlobType type);

// The key of the index is (type, id): a data blob and a tree blob may have the same id.
struct BlobHandle {
    BlobType type;
    BlobId id;
    bool operator==(const BlobHandle&) const = default;
};

// Where the sealed bytes of a blob are.
struct BlobLocation {
    PackId pack;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;               // sealed: IV, data, MAC
    std::uint32_t uncompressed_length = 0;  // 0: stored raw
    bool operator==(const BlobLocation&) const = default;
    // Length of the plaintext.
    std::uint32_t plain_length() const {
        return uncompressed_length != 0 ? uncompressed_length : length - 32;
    }
};

BlobId blob_id(ByteView plaintext);  // SHA-256

}  // namespace backup

template <>
struct std::hash<backup::BlobHandle> {
    std::size_t operator()(const backup::BlobHandle& handle) const noexcept {
        return handle.id.hash() ^ static_cast<std::size_t>(handle.type);
    }
};
