// Index files: JSON that tells which blobs are where in which packs. Encoded and decoded pack by
// pack, without building the document in memory. Pure codec; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "common/bytes.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/repository/pack.h"

namespace backup {

// That a pack was found to be needed by nobody, and when: it may be removed when enough time has
// passed and nobody needs it still. Stands beside the packs of an index file, in
// `packs_to_delete`, which restic passes over: to it the pack is one like all others as long as an
// index lists it in `packs`, too.
struct PackMark {
    Timestamp time{};
    std::uint64_t size = 0;    // of the file; 0: not said
    bool is_unlisted = false;  // no index listed the pack when it was marked
    bool operator==(const PackMark&) const = default;
    // Of several marks of a pack the later counts; of equal ones the one that says more.
    bool outweighs(const PackMark& other) const {
        return time != other.time ? time > other.time : !is_unlisted && other.is_unlisted;
    }
};

// Builds the JSON of one index file. Not thread-safe.
class IndexEncoder {
  public:
    IndexEncoder();
    void add_pack(const PackId& pack, std::span<const PackedBlob> blobs);
    void add_mark(const PackId& pack, const PackMark& mark);
    std::size_t blobs() const { return blobs_; }
    std::size_t packs() const { return packs_; }
    bool is_empty() const { return packs_ == 0 && marks_.empty(); }
    // The JSON; the encoder is empty again.
    Bytes finish();

  private:
    Bytes json_, marks_;
    std::size_t blobs_ = 0;
    std::size_t packs_ = 0;
};

class IndexVisitor {
  public:
    virtual ~IndexVisitor() = default;
    // Once per listed pack, in stored order; `blobs` is gone after the call.
    virtual void pack(const PackId& pack, std::span<const PackedBlob> blobs) = 0;
    // Packs that are marked for deletion, by us or by another tool: their blobs can be read, but
    // must not be relied on by new data. Our marks name no blobs.
    virtual void pack_to_delete(const PackId& pack, std::span<const PackedBlob> blobs,
                                const PackMark& mark) {}
    // An old field; those indexes are replaced by this one.
    virtual void supersedes(const IndexId& index) {}
};

// Any order of fields, unknown fields ignored. `corrupt` for anything that is no index, for
// impossible offsets and lengths, and for compressed blobs in version 1. After an error, what was
// visited so far is to be thrown away.
Result<> decode_index(ByteView json, unsigned version, IndexVisitor& visitor);

}  // namespace backup
