#include "daemon/collection/index_rewrite.h"

#include <algorithm>

namespace backup {

namespace {

constexpr std::size_t kMostBlobs = 50'000;
constexpr std::size_t kFewBlobs = 10'000;

class Rewriter final : public IndexVisitor {
  public:
    Rewriter(Repository& repository, const IndexChange& change)
        : repository_(repository), change_(change) {}

    void pack(const PackId& id, std::span<const PackedBlob> blobs) override {
        if (!change_.without.contains(id)) add(id, blobs);
    }
    void pack_to_delete(const PackId& id, std::span<const PackedBlob> blobs,
                        const PackMark& mark) override {
        if (change_.relist.contains(id) && !blobs.empty()) add(id, blobs);
        if (!change_.marks) old_marks_.emplace(id, mark);
    }

    // After each file: full ones are written, so that no more than one is in memory.
    Result<> flush(bool is_last) {
        if (error_) return *std::move(error_);
        if (is_last) {
            const auto& marks = change_.marks ? *change_.marks : old_marks_;
            for (const auto& [id, mark] : marks) encoder_.add_mark(id, mark);
        }
        if (!is_last || encoder_.is_empty()) return {};
        return write();
    }
    std::vector<IndexId> take() { return std::move(written_); }

  private:
    void add(const PackId& id, std::span<const PackedBlob> blobs) {
        if (!added_.insert(id).second || error_) return;
        encoder_.add_pack(id, blobs);
        if (encoder_.blobs() < kMostBlobs) return;
        if (Result<> done = write(); !done.ok()) error_ = std::move(done).error();
    }
    Result<> write() {
        const Bytes json = encoder_.finish();
        written_.push_back(
            id_cast<IndexId>(TRY(repository_.store_unpacked(FileType::index, json))));
        return {};
    }

    Repository& repository_;
    const IndexChange& change_;
    IndexEncoder encoder_;
    std::set<PackId> added_;
    std::map<PackId, PackMark> old_marks_;
    std::vector<IndexId> written_;
    std::optional<Error> error_;
};

// The files that cannot stay as they are.
std::vector<IndexId> to_rewrite(const Inventory& inventory, const IndexChange& change) {
    if (change.only_marks) return {};
    std::vector<IndexId> must, small;
    // A run that was killed, or that was not alone, may have left packs in two files: they are put
    // right.
    std::vector<std::uint8_t> listings(inventory.packs.size());
    for (const Inventory::IndexFacts& index : inventory.indexes)
        for (std::uint32_t at : index.packs) listings[at] += listings[at] < 2 ? 1 : 0;
    for (const Inventory::IndexFacts& index : inventory.indexes) {
        const bool names_one = std::ranges::any_of(index.packs, [&](std::uint32_t at) {
            return listings[at] > 1 || change.without.contains(inventory.packs[at].id);
        });
        const bool has_old_marks =
            index.has_marks && (change.marks.has_value() || !change.relist.empty());
        if (names_one || has_old_marks)
            must.push_back(index.id);
        else if (index.blobs < kFewBlobs && !index.has_marks)
            small.push_back(index.id);
    }
    if (change.most_small_files != 0 && small.size() + must.size() > change.most_small_files)
        must.insert(must.end(), small.begin(), small.end());
    return must;
}

}  // namespace

Result<IndexRewrite> rewrite_index(Repository& repository, const Inventory& inventory,
                                   const IndexChange& change, std::stop_token stop) {
    IndexRewrite result;
    const std::vector<IndexId> old = to_rewrite(inventory, change);
    const bool only_new_marks = old.empty() && change.marks && !change.marks->empty();
    if (old.empty() && !only_new_marks) return result;
    Rewriter rewriter(repository, change);
    for (const IndexId& id : old) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        const Bytes json = TRY(repository.load_unpacked(FileType::index, id_cast<FileId>(id)));
        TRY(decode_index(json, repository.config().version, rewriter));
        TRY(rewriter.flush(false));
    }
    TRY(rewriter.flush(true));
    result.written = rewriter.take();
    // Written and old may be the same file, if nothing changed but the order of things.
    for (const IndexId& id : old)
        if (std::ranges::find(result.written, id) == result.written.end())
            result.obsolete.push_back(id);
    return result;
}

}  // namespace backup
