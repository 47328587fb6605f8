// Id<Tag>: a 32 byte SHA-256 that knows what it names, so that a pack is never mistaken for a blob.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/bytes.h"

namespace backup {

template <typename Tag>
struct Id {
    static constexpr std::size_t kSize = 32;
    std::array<std::uint8_t, kSize> bytes{};

    auto operator<=>(const Id&) const = default;
    bool is_null() const { return *this == Id{}; }

    std::string hex() const { return to_hex(bytes); }
    // The first eight digits, for people and messages.
    std::string short_hex() const { return to_hex(ByteView(bytes).first(4)); }
    // Exactly 64 lower case digits.
    static std::optional<Id> from_hex(std::string_view text) {
        Id id;
        if (!backup::from_hex(text, id.bytes)) return std::nullopt;
        return id;
    }
    // The bytes are a hash already: any eight of them serve as one. Bytes 8..15 leave the first
    // ones to whoever shards by leading byte.
    std::size_t hash() const {
        std::size_t value = 0;
        std::memcpy(&value, bytes.data() + 8, sizeof value);
        return value;
    }
};

using BlobId = Id<struct BlobTag>;
using PackId = Id<struct PackTag>;
using IndexId = Id<struct IndexTag>;
using RevisionId = Id<struct RevisionTag>;  // the id of a snapshot file
using KeyId = Id<struct KeyTag>;
using LockId = Id<struct LockTag>;
using FileId = Id<struct FileTag>;  // any file of a repository, where the kind stands beside it

template <typename To, typename From>
Id<To> retag(const Id<From>& id) {
    return Id<To>{id.bytes};
}
template <typename IdType, typename From>
IdType id_cast(const Id<From>& id) {
    return IdType{id.bytes};
}

}  // namespace backup

template <typename Tag>
struct std::hash<backup::Id<Tag>> {
    std::size_t operator()(const backup::Id<Tag>& id) const noexcept { return id.hash(); }
};
