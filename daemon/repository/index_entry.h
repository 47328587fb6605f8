// IndexEntry is one copy of a blob in the index, or the claim of a session. The same 48 bytes in
// memory (BlobIndex) and in the mapped file (IndexTable). A plain value.
#pragma once

#include <cstdint>

#include "daemon/repository/blob.h"

namespace backup {

// Stands for a PackId within one BlobIndex, and within the file that was written from it.
using PackNumber = std::uint32_t;
// Names a session among those running at the same time.
using SessionNumber = std::uint16_t;

struct IndexEntry {
    // The word that holds the pack: type, "relied on" and the number in one.
    static constexpr std::uint32_t kTreeBit = 1U << 31;
    static constexpr std::uint32_t kReliedOnBit = 1U << 30;
    static constexpr std::uint32_t kNumberMask = kReliedOnBit - 1;
    // Numbers from here on are claims: the lower 16 bits name the session.
    static constexpr std::uint32_t kFirstClaim = 0x3fff0000;

    static std::uint32_t type_bit(BlobType type) { return type == BlobType::tree ? kTreeBit : 0; }
    static std::uint32_t claim_number(SessionNumber session) { return kFirstClaim | session; }

    BlobId id;
    std::uint32_t word = 0;
    std::uint32_t offset = 0, length = 0, uncompressed_length = 0;

    PackNumber number() const { return word & kNumberMask; }
    bool is_claim() const { return number() >= kFirstClaim; }
    bool is_relied_on() const { return (word & kReliedOnBit) != 0; }
    bool is(const BlobHandle& handle) const {
        return ((word ^ type_bit(handle.type)) & kTreeBit) == 0 && id == handle.id;
    }
    BlobHandle handle() const {
        return {(word & kTreeBit) != 0 ? BlobType::tree : BlobType::data, id};
    }
    bool is_same_copy(const IndexEntry& other) const {
        return ((word ^ other.word) & ~kReliedOnBit) == 0 && offset == other.offset &&
               id == other.id;
    }
};
static_assert(sizeof(IndexEntry) == 48);

// The order of a table: by id, then type, pack and place.
inline bool is_before(const IndexEntry& a, const IndexEntry& b) {
    if (int order = std::memcmp(a.id.bytes.data(), b.id.bytes.data(), BlobId::kSize); order != 0)
        return order < 0;
    const std::uint32_t first = a.word & ~IndexEntry::kReliedOnBit,
                        second = b.word & ~IndexEntry::kReliedOnBit;
    return first != second ? first < second : a.offset < b.offset;
}

}  // namespace backup
