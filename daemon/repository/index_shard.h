// IndexShard is one 256th of the index: the entries in memory, and those of a table whose ids begin
// with the same byte. Internal to BlobIndex. All members are guarded by `mutex`, which the caller
// holds; no I/O but what a mapped page brings.
#pragma once

#include <cassert>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "daemon/repository/index_entry.h"
#include "daemon/repository/index_table.h"

namespace backup {

// One bit for each entry of a range of a table; takes no memory until the first one is set.
class EntryBits {
  public:
    bool test(std::uint32_t at) const {
        return !words_.empty() && (words_[at / 64] >> (at % 64) & 1) != 0;
    }
    void set(std::uint32_t at, std::uint32_t size) {
        if (words_.empty()) words_.resize((size + std::size_t{63}) / 64);
        words_[at / 64] |= std::uint64_t{1} << (at % 64);
    }
    bool any() const { return !words_.empty(); }
    void clear() { std::vector<std::uint64_t>().swap(words_); }
    std::size_t memory_bytes() const { return words_.capacity() * sizeof(std::uint64_t); }

  private:
    std::vector<std::uint64_t> words_;
};

struct IndexShard {
    using Entry = IndexEntry;
    // Entries allocated at once: 3 KiB.
    static constexpr std::size_t kBlock = 64;
    static constexpr std::uint32_t kSlotNumberMask = 0x00ffffff;
    static constexpr std::uint32_t kNone = UINT32_MAX;

    mutable std::mutex mutex;

    // ---- in memory
    std::vector<std::unique_ptr<Entry[]>> blocks;
    std::uint32_t count = 0;
    std::unique_ptr<std::uint32_t[]> slots;  // 0: empty; else hash << 24 | number of the entry + 1
    std::uint32_t slot_mask = 0;             // slots - 1, or 0 without slots

    // ---- in the table
    std::shared_ptr<const IndexTable> table;
    IndexTable::Range range;
    EntryBits gone;       // copies that were forgotten since the table was made
    EntryBits relied_on;  // as the bit of an entry in memory
    std::uint32_t gone_count = 0;

    Entry& at(std::uint32_t number) const { return blocks[number / kBlock][number % kBlock]; }

    // The first entry in memory that `accept` takes.
    template <typename Accept>
    Entry* find(const BlobHandle& handle, const Accept& accept) const {
        if (!slots) return nullptr;
        const std::size_t hash = handle.id.hash();
        const std::uint32_t tag = static_cast<std::uint32_t>(hash >> 56) << 24;
        for (std::size_t i = hash & slot_mask; slots[i] != 0; i = (i + 1) & slot_mask) {
            if ((slots[i] & ~kSlotNumberMask) != tag) continue;
            Entry& entry = at((slots[i] & kSlotNumberMask) - 1);
            if (entry.is(handle) && accept(entry)) return &entry;
        }
        return nullptr;
    }
    Entry* find_copy(const BlobHandle& handle) const {
        return find(handle, [](const Entry& entry) { return !entry.is_claim(); });
    }

    // The first copy in the table that is not gone and that `accept` takes; kNone without one.
    template <typename Accept>
    std::uint32_t find_in_table(const BlobHandle& handle, const Accept& accept) const {
        if (!table) return kNone;
        for (std::uint32_t i = table->find(handle.id); i < range.end; ++i) {
            const Entry& entry = table->at(i);
            if (entry.id != handle.id) return kNone;
            if (entry.is(handle) && !gone.test(i - range.begin) && accept(entry)) return i;
        }
        return kNone;
    }
    std::uint32_t find_in_table(const BlobHandle& handle) const {
        return find_in_table(handle, [](const Entry&) { return true; });
    }
    void note_relied_on(std::uint32_t in_table) {
        relied_on.set(in_table - range.begin, range.end - range.begin);
    }
    // Visits what is in the table and not gone.
    template <typename Visit>
    void each_in_table(const Visit& visit) const {
        if (!table) return;
        for (std::uint32_t i = range.begin; i < range.end; ++i)
            if (!gone.test(i - range.begin)) visit(i, table->at(i));
    }

    void place(std::uint32_t number) {
        const std::size_t hash = at(number).id.hash();
        std::size_t i = hash & slot_mask;
        while (slots[i] != 0) i = (i + 1) & slot_mask;
        slots[i] = static_cast<std::uint32_t>(hash >> 56) << 24 | (number + 1);
    }
    void rebuild_slots(std::uint32_t entries) {
        if (entries == 0) {
            slots.reset();
            slot_mask = 0;
            return;
        }
        std::uint32_t size = 16;
        while (std::uint64_t{size} * 3 < std::uint64_t{entries} * 4) size *= 2;
        slots = std::make_unique<std::uint32_t[]>(size);
        slot_mask = size - 1;
        for (std::uint32_t i = 0; i < count; ++i) place(i);
    }
    void insert(const Entry& entry) {
        assert(count < kSlotNumberMask - 1);
        if (count % kBlock == 0 && count / kBlock == blocks.size())
            blocks.push_back(std::make_unique_for_overwrite<Entry[]>(kBlock));
        at(count) = entry;
        ++count;
        if (!slots || std::uint64_t{count} * 4 > (std::uint64_t{slot_mask} + 1) * 3)
            rebuild_slots(count);
        else
            place(count - 1);
    }
    // Drops the entries in memory that `drop` takes and closes the gaps.
    template <typename Drop>
    void erase_if(const Drop& drop) {
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            if (drop(at(i))) continue;
            if (kept != i) at(kept) = at(i);
            ++kept;
        }
        if (kept == count) return;
        count = kept;
        blocks.resize((kept + kBlock - 1) / kBlock);
        if (kept == 0) std::vector<std::unique_ptr<Entry[]>>().swap(blocks);
        rebuild_slots(kept);
    }

    void use_table(std::shared_ptr<const IndexTable> next, std::uint8_t shard) {
        table = std::move(next);
        range = table->starting_with(shard);
        gone.clear();
        gone_count = 0;
        relied_on.clear();
    }
};

}  // namespace backup
