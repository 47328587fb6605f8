// BlobSource is the one door through which data leaves a repository. Every blob is verified before
// it is handed out: MAC, decompressed length, SHA-256 of the plaintext. Thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/result.h"
#include "daemon/repository/blob.h"

namespace backup {

class BlobSource {
  public:
    virtual ~BlobSource() = default;
    // Tries every copy; `corrupt` when all are damaged, `not_found` when the index knows none.
    virtual Result<Bytes> load(const BlobHandle& handle) = 0;
    // The same for whoever only wants to know whether it could be had; in little memory, however
    // large it is.
    virtual Result<> check(const BlobHandle& handle) = 0;
    virtual bool contains(const BlobHandle& handle) const = 0;
    // The first known copy, for planning reads pack by pack.
    virtual std::optional<BlobLocation> locate(const BlobHandle& handle) const = 0;

    // Several blobs of one pack, read in few ranges (small gaps are read through, reads up to 8
    // MiB), each given to `each` in offset order on the calling thread. A damaged or missing one is
    // tried from other packs before its error is passed on. The returned error is one of the
    // callback or of the stop.
    struct Wanted {
        BlobHandle handle;
        BlobLocation location;
        // Where in a file it goes to: its memory is aligned alike, so that it can be written from
        // there past the page cache.
        std::uint64_t file_offset = 0;
    };
    using EachBlob = std::function<Result<>(std::size_t index, Result<ByteView> plaintext)>;
    virtual Result<> load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                                    const EachBlob& each) = 0;
};

}  // namespace backup
