// Inventory is all that a repository holds, as one collection or audit sees it: every pack with
// what index files, marks and the storage say of it, every copy of every blob. Read anew each time;
// nothing remembered decides about deletion. Memory: 48 bytes a copy, about 100 a pack.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <unordered_map>
#include <vector>

#include "daemon/repository/repository.h"

namespace backup {

struct PackFacts {
    PackId id;
    std::uint64_t file_size = 0;    // as the storage lists it; 0: there is no such file
    std::uint64_t listed_size = 0;  // as computed from the index
    bool is_listed = false;         // an index names it among its packs
    bool has_trees = false;
    bool is_kept = false;     // named by no index yet, but an interrupted backup will find it again
    bool is_damaged = false;  // some of it, as far as is known
    std::optional<PackMark> mark;
    // What is needed, once that is known: bytes of blobs for which this is the copy to keep.
    std::uint64_t used_bytes = 0;
    std::uint32_t blobs = 0, used_blobs = 0;
    bool needs_damaged = false;  // of a blob in use there is no better copy than a damaged one here

    bool is_needed() const { return used_blobs != 0; }
    // There, and as long as the index says.
    bool is_whole() const { return file_size != 0 && (!is_listed || file_size == listed_size); }
};

class Inventory {
  public:
    // Damage (an index file that cannot be read) is an error: what it lists would seem needless.
    static Result<Inventory> read(Repository& repository, std::stop_token stop);

    std::vector<PackFacts> packs;
    struct IndexFacts {
        IndexId id;
        std::vector<std::uint32_t> packs;  // places in `packs`
        std::size_t blobs = 0;
        bool has_marks = false;
    };
    std::vector<IndexFacts> indexes;

    // ---- copies, in the order of (id, type)
    static constexpr std::uint32_t kNone = UINT32_MAX;
    // Of the first copy; kNone for a blob that is in no pack.
    std::uint32_t find(const BlobHandle& handle) const;
    // True the first time. Any thread, once the inventory is read.
    bool mark_used(std::uint32_t first_copy);
    // Packs that no index names and that are not to be taken for garbage.
    void keep(const std::vector<PackId>& packs);
    // Chooses for each blob in use the copy to keep, and so what of each pack is needed. Copies in
    // whole packs go before others, those not known to be damaged before others, then packs without
    // a mark before marked ones, listed before unlisted, then the one that is needed most anyway.
    void settle();
    // Whether the chosen copy of a used blob is in this pack.
    struct Chosen {
        BlobHandle handle;
        BlobLocation location;
    };
    // By pack, in no order; only packs that `wanted` names (by place).
    std::map<std::uint32_t, std::vector<Chosen>> chosen_in(const std::vector<bool>& wanted) const;

  private:
    struct Copy {
        BlobId id;
        std::uint32_t pack;
        std::uint32_t offset, length, uncompressed;
        BlobType type;
        std::uint8_t is_used = 0;  // of the first copy of a blob
        std::uint8_t is_chosen = 0;
        std::uint8_t is_damaged = 0;
    };
    class Reader;

    bool is_same_blob(std::size_t a, std::size_t b) const {
        return copies_[a].id == copies_[b].id && copies_[a].type == copies_[b].type;
    }
    std::size_t end_of_blob(std::size_t first) const;
    void sort();
    void note_damage(const DamageBook& damage);

    std::vector<Copy> copies_;
};

}  // namespace backup
