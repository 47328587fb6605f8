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

// Builds the JSON of one index file. Not thread-safe.
class IndexEncoder {
  public:
    IndexEncoder();
    void add_pack(const PackId& pack, std::span<const PackedBlob> blobs);
    std::size_t blobs() const { return blobs_; }
    std::size_t packs() const { return packs_; }
    bool is_empty() const { return packs_ == 0; }
    // The JSON; the encoder is empty again.
    Bytes finish();

  private:
    Bytes json_;
    std::size_t blobs_ = 0;
    std::size_t packs_ = 0;
};

class IndexVisitor {
  public:
    virtual ~IndexVisitor() = default;
    // Once per listed pack, in stored order; `blobs` is gone after the call.
    virtual void pack(const PackId& pack, std::span<const PackedBlob> blobs) = 0;
    // Packs another tool has marked for deletion: their blobs can be read, but must not be relied
    // on by new data.
    virtual void pack_to_delete(const PackId& pack, std::span<const PackedBlob> blobs) {}
    // An old field; those indexes are replaced by this one.
    virtual void supersedes(const IndexId& index) {}
};

// Any order of fields, unknown fields ignored. `corrupt` for anything that is no index, for
// impossible offsets and lengths, and for compressed blobs in version 1. After an error, what was
// visited so far is to be thrown away.
Result<> decode_index(ByteView json, unsigned version, IndexVisitor& visitor);

}  // namespace backup
