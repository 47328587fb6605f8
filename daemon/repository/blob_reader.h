// BlobReader is the BlobSource of an open repository: finds blobs in the index, reads them from
// packs, verifies them. Thread-safe.
// Reading takes no lock, so a collection or another program's prune may move blobs to other packs
// meanwhile: when a pack is gone the index is looked at again, once for each such pack.
#pragma once

#include <functional>
#include <mutex>
#include <set>

#include "daemon/backend/backend.h"
#include "daemon/repository/blob_source.h"
#include "daemon/repository/crypto.h"
#include "daemon/repository/damage_book.h"
#include "daemon/repository/index.h"

namespace backup {

class BlobReader final : public BlobSource {
  public:
    // `refresh` looks at the index files again; any thread. Copies that prove damaged are noted.
    BlobReader(Backend& backend, const MasterKey& key, const BlobIndex& index,
               const BlobIndex& marked, DamageBook& damage, std::function<Result<>()> refresh)
        : backend_(backend),
          key_(key),
          index_(index),
          marked_(marked),
          damage_(damage),
          refresh_(std::move(refresh)) {}

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
    std::vector<BlobLocation> places_of(const BlobHandle& handle) const;
    // Tries these; `gone` receives the packs that are not there.
    Result<> load_from(const BlobHandle& handle, const std::vector<BlobLocation>& places,
                       Bytes* out, std::vector<PackId>& gone);
    // Once for each pack that is gone. True if the index was looked at and says what is true now.
    bool look_again(const std::vector<PackId>& gone);
    void note_missing(const std::vector<PackId>& gone, const std::vector<BlobLocation>& places);

    Backend& backend_;
    const MasterKey& key_;
    const BlobIndex& index_;
    const BlobIndex& marked_;
    DamageBook& damage_;
    const std::function<Result<>()> refresh_;

    std::mutex gone_mutex_;  // held while the index is looked at: others wait for the same answer
    std::set<PackId> gone_;  // looked for already
};

}  // namespace backup
