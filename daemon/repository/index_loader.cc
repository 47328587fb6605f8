#include "daemon/repository/index_loader.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <unordered_set>

#include "daemon/repository/index_file.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

// An index file takes up to some 15 MiB while it is decoded.
constexpr unsigned kMostThreads = 4;

class Collector final : public IndexVisitor {
  public:
    Collector(BlobIndex& index, BlobIndex& marked,
              std::function<void(PackNumber, std::size_t)> note)
        : index_(index), marked_(marked), note_(std::move(note)) {}

    void pack(const PackId& pack, std::span<const PackedBlob> blobs) override {
        file.packs.push_back(add(index_, pack, blobs));
        note_(file.packs.back(), blobs.size());
    }
    void pack_to_delete(const PackId& pack, std::span<const PackedBlob> blobs,
                        const PackMark& mark) override {
        file.marked_packs.push_back(add(marked_, pack, blobs));
        file.marks.emplace_back(pack, mark);
    }

    IndexLoader::File file;

  private:
    static PackNumber add(BlobIndex& index, const PackId& pack, std::span<const PackedBlob> blobs) {
        PackNumber number = index.acquire_pack(pack);
        for (const PackedBlob& blob : blobs)
            index.add({blob.type, blob.id}, number, blob.offset, blob.length,
                      blob.uncompressed_length);
        return number;
    }

    BlobIndex& index_;
    BlobIndex& marked_;
    const std::function<void(PackNumber, std::size_t)> note_;
};

}  // namespace

Result<> IndexLoader::refresh(std::stop_token stop, std::vector<Error>* broken) {
    std::lock_guard refresh_lock(refresh_mutex_);
    open_copy();
    // A collector writes the packs it keeps into new index files and removes the old ones: one that
    // was listed and is not there when it is to be read means that others are there now.
    constexpr int kMostAttempts = 5;
    for (int attempt = 1;; ++attempt) {
        bool changed_meanwhile = false;
        TRY(refresh_once(stop, broken, changed_meanwhile));
        if (!changed_meanwhile || attempt == kMostAttempts) break;
        if (broken != nullptr) broken->clear();
    }
    tell_marks();
    return {};
}

Result<> IndexLoader::refresh_once(const std::stop_token& stop, std::vector<Error>* broken,
                                   bool& changed_meanwhile) {
    // Only what was there before the listing began can be found to have vanished by it.
    std::vector<IndexId> before;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [id, file] : files_)
            if (file.is_loaded) before.push_back(id);
    }
    std::vector<IndexId> listed;
    TRY_DURING(
        backend_.list(FileType::index,
                      [&](const FileInfo& info) { listed.push_back(id_cast<IndexId>(info.id)); }),
        "list the index");
    std::ranges::sort(listed);
    std::vector<IndexId> vanished;
    std::ranges::set_difference(before, listed, std::back_inserter(vanished));
    TRY(confirm_vanished(backend_, FileType::index, vanished));
    std::vector<IndexId> wanted;
    {
        std::lock_guard lock(mutex_);
        for (const IndexId& id : listed)
            if (!files_.contains(id)) wanted.push_back(id);
    }
    // New ones first: a prune writes the packs it keeps into new index files, and their blobs must
    // not seem lost in between. Nor if some cannot be loaded: then the old ones stay for now.
    const bool is_whole = TRY(load_all(wanted, stop, broken, changed_meanwhile));
    if (is_whole && !changed_meanwhile) return forget(vanished);
    return {};
}

std::map<PackId, PackMark> IndexLoader::marks() {
    std::map<PackId, PackMark> all;
    std::lock_guard lock(mutex_);
    for (const auto& [id, file] : files_) {
        for (const auto& [pack, mark] : file.marks) {
            auto [place, is_new] = all.emplace(pack, mark);
            if (!is_new && mark.outweighs(place->second)) place->second = mark;
        }
    }
    return all;
}

// A mark on a pack that no index listed then says nothing of one that is listed now: a session was
// about to.
void IndexLoader::tell_marks() {
    std::vector<PackId> listed;
    for (const auto& [pack, mark] : marks())
        if (!mark.is_unlisted) listed.push_back(pack);
    std::lock_guard lock(mutex_);
    listed.insert(listed.end(), avoided_.begin(), avoided_.end());
    index_.set_marked(listed);
}

void IndexLoader::avoid(std::vector<PackId> packs) {
    {
        std::lock_guard lock(mutex_);
        avoided_ = std::move(packs);
    }
    tell_marks();
}

Result<bool> IndexLoader::load_all(const std::vector<IndexId>& wanted, const std::stop_token& stop,
                                   std::vector<Error>* broken, bool& changed_meanwhile) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> any_vanished{false};
    std::atomic<bool> is_over{false};
    std::mutex mutex;  // guards failures
    std::vector<Error> failures;
    auto work = [&] {
        for (std::size_t i = next++; i < wanted.size(); i = next++) {
            if (is_over || stop.stop_requested()) return;
            Result<File> file = load(wanted[i]);
            if (file.ok()) {
                std::lock_guard lock(mutex_);
                files_[wanted[i]] = *std::move(file);
            } else if (file.error().kind() == ErrorKind::not_found) {
                any_vanished = true;
            } else {
                std::lock_guard lock(mutex);
                failures.push_back(
                    std::move(file).error().during("index " + wanted[i].short_hex()));
                if (!broken) is_over = true;
            }
        }
    };
    const std::size_t threads = std::min<std::size_t>(
        wanted.size(),
        std::clamp(std::max(std::thread::hardware_concurrency(), backend_.properties().connections),
                   1U, kMostThreads));
    {
        std::vector<std::jthread> workers;
        for (std::size_t i = 1; i < threads; ++i) workers.emplace_back(work);
        work();
    }
    if (stop.stop_requested())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped while loading the index");
    changed_meanwhile = any_vanished;
    if (failures.empty()) return true;
    if (!broken) return std::move(failures.front());
    std::ranges::move(failures, std::back_inserter(*broken));
    return false;
}

Result<> IndexLoader::forget(const std::vector<IndexId>& vanished) {
    std::map<IndexId, File> obsolete;
    {
        std::lock_guard lock(mutex_);
        for (const IndexId& id : vanished) obsolete.insert(files_.extract(id));
    }
    Result<> settled = settle_disagreements(obsolete);
    if (!settled.ok()) {
        std::lock_guard lock(mutex_);
        files_.merge(obsolete);
        return settled;
    }
    std::vector<File> files;
    for (auto& [id, file] : obsolete) files.push_back(std::move(file));
    drop(files);
    return {};
}

Result<IndexLoader::File> IndexLoader::load(const IndexId& id) {
    Bytes json =
        TRY(read_unpacked(backend_, key_, version_, FileType::index, retag<struct FileTag>(id)));
    Collector collector(index_, marked_,
                        [this](PackNumber pack, std::size_t blobs) { note_listing(pack, blobs); });
    Result<> decoded = decode_index(json, version_, collector);
    if (!decoded.ok()) {
        drop({collector.file});
        return std::move(decoded).error().with_code(ErrorCode::repository_damaged);
    }
    collector.file.is_loaded = true;
    return std::move(collector.file);
}

void IndexLoader::drop(const std::vector<File>& files) {
    std::vector<PackNumber> packs, marked_packs;
    for (const File& file : files) {
        packs.insert(packs.end(), file.packs.begin(), file.packs.end());
        marked_packs.insert(marked_packs.end(), file.marked_packs.begin(), file.marked_packs.end());
    }
    release(packs);
    marked_.release_packs(marked_packs);
}

// What was said of a pack without users is forgotten with it: its number goes to another.
void IndexLoader::release(const std::vector<PackNumber>& packs) {
    const std::vector<PackNumber> gone = index_.release_packs(packs);
    std::lock_guard lock(mutex_);
    for (PackNumber pack : gone) {
        if (pack < listed_.size()) listed_[pack] = 0;
        disputed_.erase(pack);
    }
}

void IndexLoader::note_listing(PackNumber pack, std::size_t blobs) {
    std::lock_guard lock(mutex_);
    if (listed_.size() <= pack) listed_.resize(pack + std::size_t{1});
    if (listed_[pack] != 0 && listed_[pack] != blobs) disputed_.insert(pack);
    listed_[pack] = static_cast<std::uint32_t>(blobs);
}

// `dropped` files are no longer in files_, but their packs still count as used.
Result<> IndexLoader::settle_disagreements(const std::map<IndexId, File>& dropped) {
    std::set<PackNumber> packs;
    std::set<IndexId> sources;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [id, file] : dropped)
            for (PackNumber pack : file.packs)
                if (disputed_.contains(pack)) packs.insert(pack);
        if (packs.empty()) return {};
        for (const auto& [id, file] : files_)
            for (PackNumber pack : file.packs)
                if (packs.contains(pack)) sources.insert(id);
    }

    class Listing final : public IndexVisitor {
      public:
        Listing(BlobIndex& index, const std::set<PackNumber>& wanted)
            : index_(index), wanted_(wanted) {}
        void pack(const PackId& pack, std::span<const PackedBlob> blobs) override {
            PackNumber number = index_.acquire_pack(pack);
            acquired.push_back(number);
            if (!wanted_.contains(number)) return;
            for (const PackedBlob& blob : blobs) listed[number].insert({blob.type, blob.id});
        }
        std::map<PackNumber, std::unordered_set<BlobHandle>> listed;
        std::vector<PackNumber> acquired;

      private:
        BlobIndex& index_;
        const std::set<PackNumber>& wanted_;
    };
    Listing listing(index_, packs);
    Result<> read;
    for (const IndexId& id : sources) {
        Result<Bytes> json =
            read_unpacked(backend_, key_, version_, FileType::index, retag<struct FileTag>(id));
        read =
            json.ok() ? decode_index(*json, version_, listing) : Result<>(std::move(json).error());
        if (!read.ok()) break;
    }
    if (read.ok()) {
        // Packs that nobody lists any more go with the files that did.
        index_.keep_only(listing.listed);
        std::lock_guard lock(mutex_);
        for (PackNumber pack : packs) disputed_.erase(pack);
    }
    release(listing.acquired);
    return read;
}

void IndexLoader::announce(const IndexId& id) {
    std::lock_guard lock(mutex_);
    files_[id] = {};
}

void IndexLoader::withdraw(const IndexId& id) {
    std::lock_guard lock(mutex_);
    auto found = files_.find(id);
    if (found != files_.end() && !found->second.is_loaded) files_.erase(found);
}

void IndexLoader::stored(const IndexId& id, const std::vector<StoredPackNote>& packs) {
    for (const StoredPackNote& note : packs) note_listing(note.pack, note.blobs);
    std::lock_guard lock(mutex_);
    File file{true, {}, {}};
    for (const StoredPackNote& note : packs) file.packs.push_back(note.pack);
    files_[id] = std::move(file);
}

}  // namespace backup
