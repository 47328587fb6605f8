#include "daemon/collection/inventory.h"

#include <algorithm>
#include <atomic>
#include <tuple>
#include <unordered_set>

#include "daemon/repository/pack.h"

namespace backup {

// Gathers what index files say.
class Inventory::Reader final : public IndexVisitor {
  public:
    explicit Reader(Inventory& inventory) : inventory_(inventory) {}

    void begin(const IndexId& id) { inventory_.indexes.push_back({id, {}, 0, false}); }

    void pack(const PackId& id, std::span<const PackedBlob> blobs) override {
        const std::uint32_t at = place_of(id);
        PackFacts& facts = inventory_.packs[at];
        IndexFacts& index = inventory_.indexes.back();
        index.packs.push_back(at);
        index.blobs += blobs.size();
        if (std::exchange(facts.is_listed, true)) return;  // listed by another file already
        facts.listed_size = pack_file_size(blobs);
        add_copies(at, blobs);
    }

    void pack_to_delete(const PackId& id, std::span<const PackedBlob> blobs,
                        const PackMark& mark) override {
        inventory_.indexes.back().has_marks = true;
        PackFacts& facts = inventory_.packs[place_of(id)];
        if (!facts.mark || mark.outweighs(*facts.mark)) facts.mark = mark;
        // Another tool's: the blobs stand only here, and are of use if somebody needs them.
        if (!blobs.empty()) unlisted_.push_back({id, {blobs.begin(), blobs.end()}});
    }

    void file(const FileInfo& info) {
        inventory_.packs[place_of(id_cast<PackId>(info.id))].file_size = info.size;
    }

    void finish() {
        for (const auto& [id, blobs] : unlisted_) {
            const std::uint32_t at = place_of(id);
            if (!inventory_.packs[at].is_listed && inventory_.packs[at].blobs == 0)
                add_copies(at, blobs);
        }
        // A mark on a pack that nobody listed then says nothing of one that is listed now.
        for (PackFacts& facts : inventory_.packs)
            if (facts.mark && facts.mark->is_unlisted && facts.is_listed) facts.mark.reset();
    }

  private:
    std::uint32_t place_of(const PackId& id) {
        auto [place, is_new] =
            places_.try_emplace(id, static_cast<std::uint32_t>(inventory_.packs.size()));
        if (is_new) inventory_.packs.emplace_back().id = id;
        return place->second;
    }
    void add_copies(std::uint32_t at, std::span<const PackedBlob> blobs) {
        PackFacts& facts = inventory_.packs[at];
        facts.blobs = static_cast<std::uint32_t>(blobs.size());
        for (const PackedBlob& blob : blobs) {
            facts.has_trees |= blob.type == BlobType::tree;
            inventory_.copies_.push_back(
                {blob.id, at, blob.offset, blob.length, blob.uncompressed_length, blob.type});
        }
    }

    Inventory& inventory_;
    std::unordered_map<PackId, std::uint32_t> places_;
    std::vector<std::pair<PackId, std::vector<PackedBlob>>> unlisted_;
};

Result<Inventory> Inventory::read(Repository& repository, std::stop_token stop) {
    Inventory inventory;
    Reader reader(inventory);
    std::vector<FileId> ids;
    TRY_DURING(repository.backend().list(FileType::index,
                                         [&](const FileInfo& info) { ids.push_back(info.id); }),
               "list the index");
    for (const FileId& id : ids) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        Bytes json =
            TRY_DURING(repository.load_unpacked(FileType::index, id), "index " + id.short_hex());
        reader.begin(id_cast<IndexId>(id));
        Result<> decoded = decode_index(json, repository.config().version, reader);
        if (!decoded.ok())
            return std::move(decoded)
                .error()
                .during("index " + id.short_hex())
                .with_code(ErrorCode::repository_damaged);
    }
    // Packs last: what an index names was stored before. One that is stored meanwhile seems to be
    // named by none, which has no consequence for a day.
    TRY_DURING(
        repository.backend().list(FileType::pack, [&](const FileInfo& info) { reader.file(info); }),
        "list packs");
    reader.finish();
    inventory.sort();
    inventory.note_damage(repository.damage());
    return inventory;
}

void Inventory::note_damage(const DamageBook& damage) {
    if (!damage.any()) return;
    for (PackFacts& facts : packs) facts.is_damaged = damage.has_any_of(facts.id);
    for (Copy& copy : copies_)
        copy.is_damaged =
            packs[copy.pack].is_damaged && damage.has(packs[copy.pack].id, {copy.type, copy.id})
                ? 1
                : 0;
}

void Inventory::keep(const std::vector<PackId>& kept) {
    const std::unordered_set<PackId> wanted(kept.begin(), kept.end());
    for (PackFacts& facts : packs)
        facts.is_kept = facts.is_kept || (!facts.is_listed && wanted.contains(facts.id));
}

void Inventory::sort() {
    std::ranges::sort(copies_, [](const Copy& a, const Copy& b) {
        return std::tie(a.id, a.type, a.pack, a.offset) < std::tie(b.id, b.type, b.pack, b.offset);
    });
}

std::uint32_t Inventory::find(const BlobHandle& handle) const {
    auto place =
        std::ranges::lower_bound(copies_, std::tie(handle.id, handle.type), {},
                                 [](const Copy& copy) { return std::tie(copy.id, copy.type); });
    if (place == copies_.end() || place->id != handle.id || place->type != handle.type)
        return kNone;
    return static_cast<std::uint32_t>(place - copies_.begin());
}

bool Inventory::mark_used(std::uint32_t first_copy) {
    return std::atomic_ref(copies_[first_copy].is_used).exchange(1) == 0;
}

std::size_t Inventory::end_of_blob(std::size_t first) const {
    std::size_t end = first + 1;
    while (end < copies_.size() && is_same_blob(first, end)) ++end;
    return end;
}

void Inventory::settle() {
    for (PackFacts& facts : packs) {
        facts.used_bytes = facts.used_blobs = 0;
        facts.needs_damaged = false;
    }
    for (Copy& copy : copies_) copy.is_chosen = 0;
    auto choose = [&](Copy& copy) {
        copy.is_chosen = 1;
        packs[copy.pack].used_bytes += copy.length;
        ++packs[copy.pack].used_blobs;
        packs[copy.pack].needs_damaged |= copy.is_damaged != 0;
    };
    // Those without a choice first, so that the others know which packs stay anyway.
    for (const bool is_single : {true, false}) {
        for (std::size_t first = 0; first < copies_.size();) {
            const std::size_t end = end_of_blob(first);
            if (copies_[first].is_used != 0 && (end - first == 1) == is_single) {
                auto worth = [&](const Copy& copy) {
                    const PackFacts& facts = packs[copy.pack];
                    return std::make_tuple(facts.is_whole(), facts.file_size != 0,
                                           copy.is_damaged == 0, !facts.mark, facts.is_listed,
                                           facts.used_bytes);
                };
                auto best = std::ranges::max_element(
                    copies_.begin() + static_cast<std::ptrdiff_t>(first),
                    copies_.begin() + static_cast<std::ptrdiff_t>(end), {}, worth);
                choose(*best);
            }
            first = end;
        }
    }
}

std::map<std::uint32_t, std::vector<Inventory::Chosen>> Inventory::chosen_in(
    const std::vector<bool>& wanted) const {
    std::map<std::uint32_t, std::vector<Chosen>> by_pack;
    for (const Copy& copy : copies_) {
        if (copy.is_chosen == 0 || !wanted[copy.pack]) continue;
        by_pack[copy.pack].push_back(
            {{copy.type, copy.id},
             {packs[copy.pack].id, copy.offset, copy.length, copy.uncompressed}});
    }
    return by_pack;
}

}  // namespace backup
