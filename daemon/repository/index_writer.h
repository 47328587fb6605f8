// IndexWriter names stored packs in index files: one file when 50,000 blobs or 10 minutes have come
// together, and one at the end. From then on their blobs belong to the repository, for this session
// and all others. Thread-safe; blocking.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/repository/index_loader.h"
#include "daemon/repository/pack_writer.h"

namespace backup {

class IndexWriter {
  public:
    struct Place {
        Backend& backend;
        const MasterKey& key;
        unsigned version;
        BlobIndex& index;
        IndexLoader& loader;
        SessionNumber session;
        const Clock& clock;
        // Makes sure that our lock protects what is about to be written; gives its generation,
        // which changes when the lock was lost in between.
        std::function<Result<std::uint64_t>()> secure;
        // Told which packs an index file names now.
        std::function<void(const std::vector<PackId>&)> on_named;
    };
    explicit IndexWriter(Place place)
        : place_(std::move(place)), begun_(place_.clock.monotonic()) {}

    Result<> add(StoredPack pack);
    Result<> flush();

  private:
    Result<> write(std::vector<StoredPack> packs);

    const Place place_;
    std::mutex flush_mutex_;  // one file at a time; held during I/O
    std::mutex mutex_;        // guards what follows
    std::vector<StoredPack> waiting_;
    std::size_t waiting_blobs_ = 0;
    MonotonicTime begun_;
};

}  // namespace backup
