#include "daemon/repository/stored_packs.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "common/log.h"
#include "daemon/repository/index.h"
#include "daemon/repository/index_file.h"
#include "daemon/repository/index_loader.h"
#include "daemon/repository/lock.h"
#include "daemon/repository/pack.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

constexpr std::size_t kMostIndexBlobs = 50'000;
constexpr unsigned kMostReaders = 8;

bool is_damage(const Error& error) {
    return error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::not_found;
}

class Taking {
  public:
    Taking(const StoredPacksPlace& place, RepositoryLock& lock, std::stop_token stop)
        : place_(place), lock_(lock), stop_(std::move(stop)) {}

    Result<TakenUp> run(const std::string& owner) {
        wanted_ = place_.journal.remembered(place_.repository_id, owner);
        if (wanted_.empty()) return TakenUp{};
        drop_known();
        Result<> read = read_headers();
        // What was found out about the others is true all the same.
        place_.journal.forget(place_.repository_id, settled_);
        TRY(std::move(read));
        if (found_.empty()) return TakenUp{};
        TRY(write_index());
        TRY_DURING(place_.loader.refresh(stop_), "load what was found again");
        place_.journal.forget(place_.repository_id, named_);
        return taken_;
    }

  private:
    struct Found {
        JournalledPack pack;
        std::vector<PackedBlob> blobs;
    };

    // Those that an index file names by now, and those that are to be removed.
    void drop_known() {
        const std::map<PackId, PackMark> marks = place_.loader.marks();
        std::erase_if(wanted_, [&](const JournalledPack& pack) {
            if (place_.index.pack_users(pack.id) == 0 && !marks.contains(pack.id)) return false;
            settled_.push_back(pack.id);
            return true;
        });
    }

    Result<> read_headers() {
        std::atomic<std::size_t> next{0};
        std::mutex mutex;  // guards failure, found_, settled_
        std::optional<Error> failure;
        auto work = [&] {
            for (std::size_t i = next++; i < wanted_.size(); i = next++) {
                if (stop_.stop_requested()) return;
                Result<std::vector<PackedBlob>> blobs = read_header(wanted_[i]);
                std::lock_guard guard(mutex);
                if (blobs.ok() && is_of_use(*blobs)) {
                    found_.push_back({wanted_[i], *std::move(blobs)});
                } else if (blobs.ok() || is_damage(blobs.error())) {
                    settled_.push_back(wanted_[i].id);
                } else if (!failure) {
                    failure = std::move(blobs).error();
                }
            }
        };
        {
            std::vector<std::jthread> readers;
            const std::size_t most = std::min<std::size_t>(
                wanted_.size(),
                std::clamp(place_.backend.properties().connections, 1U, kMostReaders));
            for (std::size_t i = 1; i < most; ++i) readers.emplace_back(work);
            work();
        }
        if (stop_.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        if (failure) return *std::move(failure);
        return {};
    }

    // `not_found`: it never arrived. `corrupt`: it is not what was to be stored.
    Result<std::vector<PackedBlob>> read_header(const JournalledPack& pack) {
        const Handle file{FileType::pack, id_cast<FileId>(pack.id)};
        const FileInfo info = TRY(place_.backend.stat(file));
        Result<std::vector<PackedBlob>> blobs =
            Error(ErrorKind::corrupt, "has " + std::to_string(info.size) + " bytes instead of " +
                                          std::to_string(pack.size));
        if (info.size == pack.size) blobs = read_tail(file, pack.size);
        if (!blobs.ok() && blobs.error().kind() == ErrorKind::corrupt)
            log_warning("pack " + pack.id.short_hex() +
                        " of an interrupted run is of no use: " + blobs.error().message());
        return blobs;
    }

    Result<std::vector<PackedBlob>> read_tail(const Handle& file, std::uint64_t size) {
        auto read_last = [&](std::uint64_t bytes) -> Result<Bytes> {
            return place_.backend.get(file, {size - bytes, bytes});
        };
        Bytes tail = TRY(read_last(std::min<std::uint64_t>(size, kPackTailGuess)));
        const std::size_t needed = TRY(pack_tail_length(tail, size));
        if (needed > tail.size()) tail = TRY(read_last(needed));
        return decode_pack_tail(tail, size, place_.version, place_.key);
    }

    bool is_of_use(const std::vector<PackedBlob>& blobs) const {
        return std::ranges::any_of(blobs, [this](const PackedBlob& blob) {
            return !place_.index.is_reliable({blob.type, blob.id});
        });
    }

    Result<> write_index() {
        IndexEncoder encoder;
        for (const Found& one : found_) {
            encoder.add_pack(one.pack.id, one.blobs);
            named_.push_back(one.pack.id);
            ++taken_.packs;
            taken_.bytes += one.pack.size;
            if (encoder.blobs() >= kMostIndexBlobs) TRY(store(encoder.finish()));
        }
        return encoder.is_empty() ? Result<>() : store(encoder.finish());
    }

    // Under a lock that was there all the time, or a prune may have taken the packs since.
    Result<> store(const Bytes& json) {
        if (TRY(lock_.verify(stop_)) == RepositoryLock::State::lost)
            return Error(ErrorKind::conflict, ErrorCode::conflict, "our lock was removed");
        UnpackedFile file = TRY(make_unpacked(place_.key, place_.version, json));
        TRY(place_.backend.put({FileType::index, file.id}, file.sealed));
        const Bytes stored = TRY_DURING(
            read_unpacked(place_.backend, place_.key, place_.version, FileType::index, file.id),
            "read back the index");
        if (stored != json)
            return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                         "an index read back is not what was stored");
        return {};
    }

    const StoredPacksPlace& place_;
    RepositoryLock& lock_;
    const std::stop_token stop_;
    std::vector<JournalledPack> wanted_;
    std::vector<Found> found_;
    std::vector<PackId> settled_;  // nothing more is to be done about them
    std::vector<PackId> named_;
    TakenUp taken_;
};

}  // namespace

Result<TakenUp> take_up_packs(const StoredPacksPlace& place, const std::string& owner,
                              RepositoryLock& lock, std::stop_token stop) {
    return Taking(place, lock, std::move(stop)).run(owner);
}

}  // namespace backup
