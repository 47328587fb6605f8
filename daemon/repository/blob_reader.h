// BlobReader is the BlobSource of an open repository: finds blobs in the index, reads them from
// packs, verifies them. Thread-safe.
#pragma once

#include "daemon/backend/backend.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/index.h"

namespace backup {

class BlobReader final : public BlobSource {
  public:
    BlobReader(Backend& backend, const MasterKey& key, const BlobIndex& index,
               const BlobIndex& marked)
        : backend_(backend), key_(key), index_(index), marked_(marked) {}

    Result<Bytes> load(const BlobHandle& handle) override;
    Result<> check(const BlobHandle& handle) override;
    bool contains(const BlobHandle& handle) const override;
    std::optional<BlobLocation> locate(const BlobHandle& handle) const override;
    Result<> load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                            const EachBlob& each) override;

  private:
    // Without `out` it is only checked.
    Result<> load_copy(const BlobHandle& handle, const BlobLocation& place, Bytes* out);
    Result<> load_any_copy(const BlobHandle& handle, Bytes* out);

    Backend& backend_;
    const MasterKey& key_;
    const BlobIndex& index_;
    const BlobIndex& marked_;
};

}  // namespace backup
