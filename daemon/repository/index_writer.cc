#include "daemon/repository/index_writer.h"

#include <map>
#include <optional>

#include "daemon/repository/index_file.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

constexpr std::size_t kMostBlobs = 50'000;
constexpr Duration kMostAge = std::chrono::minutes(10);

}  // namespace

Result<> IndexWriter::add(StoredPack pack) {
    {
        std::lock_guard lock(mutex_);
        waiting_blobs_ += pack.blobs.size();
        waiting_.push_back(std::move(pack));
        if (waiting_blobs_ < kMostBlobs && place_.clock.monotonic() - begun_ < kMostAge) return {};
    }
    return flush();
}

Result<> IndexWriter::flush() {
    std::lock_guard flush_lock(flush_mutex_);
    std::vector<StoredPack> packs;
    {
        std::lock_guard lock(mutex_);
        packs = std::move(waiting_);
        waiting_.clear();
        waiting_blobs_ = 0;
        begun_ = place_.clock.monotonic();
    }
    if (packs.empty()) return {};
    return write(std::move(packs));
}

Result<> IndexWriter::write(std::vector<StoredPack> packs) {
    const std::uint64_t generation = TRY(place_.secure());
    std::optional<std::map<PackId, PackMark>> marks;
    for (const StoredPack& pack : packs) {
        if (pack.lock_generation == generation) continue;
        // While the lock was away others may have taken it for garbage: no index names it yet. One
        // that is marked may be on its way out.
        if (!marks) marks = place_.loader.marks();
        if (marks->contains(pack.id))
            return Error(
                ErrorKind::conflict, ErrorCode::conflict,
                "pack " + pack.id.short_hex() + " was marked for removal while our lock was lost");
        Result<FileInfo> info =
            place_.backend.stat({FileType::pack, retag<struct FileTag>(pack.id)});
        if (info.ok()) continue;
        if (info.error().kind() == ErrorKind::not_found)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "pack " + pack.id.short_hex() +
                             " was removed by another program while our lock was lost");
        return std::move(info).error().during("look at pack " + pack.id.short_hex());
    }

    IndexEncoder encoder;
    for (const StoredPack& pack : packs) encoder.add_pack(pack.id, pack.blobs);
    UnpackedFile file = TRY(make_unpacked(place_.key, place_.version, encoder.finish()));
    const IndexId id = id_cast<IndexId>(file.id);
    place_.loader.announce(id);
    Result<> stored = place_.backend.put({FileType::index, file.id}, file.sealed);
    if (!stored.ok()) {
        place_.loader.withdraw(id);
        return std::move(stored).error();
    }
    std::vector<IndexLoader::StoredPackNote> notes;
    for (const StoredPack& pack : packs) {
        notes.push_back({place_.index.acquire_pack(pack.id), pack.blobs.size()});
        for (const PackedBlob& blob : pack.blobs)
            place_.index.settle({blob.type, blob.id}, place_.session, notes.back().pack,
                                blob.offset, blob.length, blob.uncompressed_length);
    }
    place_.loader.stored(id, notes);
    std::vector<PackId> named;
    for (const StoredPack& pack : packs) named.push_back(pack.id);
    place_.on_named(named);
    place_.loader.spill(true);
    return {};
}

}  // namespace backup
