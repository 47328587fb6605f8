#include "daemon/repository/index.h"

#include <algorithm>
#include <cassert>

namespace backup {

namespace {

constexpr std::size_t kShards = 256;
constexpr std::size_t kBlock = 256;  // entries allocated at once: 12 KiB

// The word of an entry that holds the pack: type, "relied on" and the number in one.
constexpr std::uint32_t kTreeBit = 1U << 31;
constexpr std::uint32_t kReliedOnBit = 1U << 30;
constexpr std::uint32_t kNumberMask = kReliedOnBit - 1;
// Numbers from here on are claims: the lower 16 bits name the session.
constexpr std::uint32_t kFirstClaim = 0x3fff0000;
constexpr std::size_t kMostSessions = 0xffff;

constexpr std::uint32_t kSlotNumberMask = 0x00ffffff;

std::uint32_t type_bit(BlobType type) {
    return type == BlobType::tree ? kTreeBit : 0;
}
std::uint32_t claim_number(SessionNumber session) {
    return kFirstClaim | session;
}

}  // namespace

struct BlobIndex::Entry {
    BlobId id;
    std::uint32_t word;
    std::uint32_t offset, length, uncompressed_length;

    std::uint32_t number() const { return word & kNumberMask; }
    bool is_claim() const { return number() >= kFirstClaim; }
    bool is(const BlobHandle& handle) const {
        return ((word ^ type_bit(handle.type)) & kTreeBit) == 0 && id == handle.id;
    }
    BlobHandle handle() const {
        return {(word & kTreeBit) != 0 ? BlobType::tree : BlobType::data, id};
    }
};

// One 256th of the table. All members are guarded by `mutex`.
struct BlobIndex::Shard {
    mutable std::mutex mutex;
    std::vector<std::unique_ptr<Entry[]>> blocks;
    std::uint32_t count = 0;
    std::unique_ptr<std::uint32_t[]> slots;  // 0: empty; else hash << 24 | number of the entry + 1
    std::uint32_t slot_mask = 0;             // slots - 1, or 0 without slots

    static_assert(sizeof(Entry) == 48);

    Entry& at(std::uint32_t number) const { return blocks[number / kBlock][number % kBlock]; }

    // The first copy that `accept` takes.
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
    // Drops the entries that `drop` takes and closes the gaps.
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
        rebuild_slots(kept);
    }
};

BlobIndex::BlobIndex() : shards_(std::make_unique<Shard[]>(kShards)) {}
BlobIndex::~BlobIndex() = default;

BlobIndex::Shard& BlobIndex::shard_of(const BlobId& id) const {
    return shards_[id.bytes[0]];
}

PackNumber BlobIndex::acquire_pack(const PackId& pack) {
    std::unique_lock lock(packs_mutex_);
    auto [place, is_new] = pack_numbers_.try_emplace(pack, 0);
    if (is_new) {
        if (!free_packs_.empty()) {
            place->second = free_packs_.back();
            free_packs_.pop_back();
        } else {
            assert(packs_.size() < kFirstClaim);
            place->second = static_cast<PackNumber>(packs_.size());
            packs_.emplace_back();
        }
        packs_[place->second] = Pack{pack, 0};
    }
    ++packs_[place->second].users;
    return place->second;
}

std::uint32_t BlobIndex::pack_users(const PackId& pack) const {
    std::shared_lock lock(packs_mutex_);
    auto found = pack_numbers_.find(pack);
    return found == pack_numbers_.end() ? 0 : packs_[found->second].users;
}

bool BlobIndex::add(const BlobHandle& handle, PackNumber pack, std::uint32_t offset,
                    std::uint32_t length, std::uint32_t uncompressed_length) {
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    bool is_known = shard.find(handle, [&](const Entry& entry) {
        return entry.number() == pack && entry.offset == offset;
    }) != nullptr;
    if (is_known) return false;
    shard.insert({handle.id, type_bit(handle.type) | pack, offset, length, uncompressed_length});
    return true;
}

template <typename Forget>
void BlobIndex::forget_copies(const Forget& forget) {
    for (std::size_t i = 0; i < kShards; ++i) {
        Shard& shard = shards_[i];
        std::lock_guard lock(shard.mutex);
        std::vector<BlobHandle> relied_on;
        shard.erase_if([&](const Entry& entry) {
            if (entry.is_claim() || !forget(entry)) return false;
            if ((entry.word & kReliedOnBit) != 0) relied_on.push_back(entry.handle());
            return true;
        });
        for (const BlobHandle& handle : relied_on) {
            // The promise moves to another copy if there is one.
            if (Entry* other = shard.find_copy(handle))
                other->word |= kReliedOnBit;
            else
                lost_.fetch_add(1, std::memory_order_acq_rel);
        }
    }
}

void BlobIndex::keep_only(const std::map<PackNumber, std::unordered_set<BlobHandle>>& packs) {
    forget_copies([&](const Entry& entry) {
        auto found = packs.find(entry.number());
        return found != packs.end() && !found->second.contains(entry.handle());
    });
}

void BlobIndex::release_packs(const std::vector<PackNumber>& packs) {
    std::vector<bool> unused;
    std::vector<PackNumber> gone;
    {
        std::unique_lock lock(packs_mutex_);
        unused.resize(packs_.size());
        for (PackNumber pack : packs) {
            assert(packs_[pack].users > 0);
            if (--packs_[pack].users != 0) continue;
            unused[pack] = true;
            gone.push_back(pack);
        }
    }
    if (gone.empty()) return;

    forget_copies([&](const Entry& entry) {
        return entry.number() < unused.size() && unused[entry.number()];
    });

    // Only now may the numbers be given to other packs: no entry names them any more.
    std::unique_lock lock(packs_mutex_);
    for (PackNumber pack : gone) {
        pack_numbers_.erase(packs_[pack].id);
        packs_[pack] = {};
        free_packs_.push_back(pack);
    }
}

BlobLocation BlobIndex::location_of(const Entry& entry) const {
    std::shared_lock lock(packs_mutex_);
    return {packs_[entry.number()].id, entry.offset, entry.length, entry.uncompressed_length};
}

bool BlobIndex::contains(const BlobHandle& handle) const {
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    return shard.find_copy(handle) != nullptr;
}

std::optional<BlobLocation> BlobIndex::find(const BlobHandle& handle) const {
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    const Entry* entry = shard.find_copy(handle);
    if (!entry) return std::nullopt;
    return location_of(*entry);
}

std::vector<BlobLocation> BlobIndex::find_all(const BlobHandle& handle) const {
    std::vector<BlobLocation> all;
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    shard.find(handle, [&](const Entry& entry) {
        if (!entry.is_claim()) all.push_back(location_of(entry));
        return false;
    });
    return all;
}

SessionNumber BlobIndex::begin_session() {
    std::lock_guard lock(sessions_mutex_);
    bool is_first = std::ranges::find(sessions_, true) == sessions_.end();
    if (is_first && any_relied_on_.exchange(false)) {
        for (std::size_t i = 0; i < kShards; ++i) {
            std::lock_guard shard_lock(shards_[i].mutex);
            for (std::uint32_t n = 0; n < shards_[i].count; ++n)
                shards_[i].at(n).word &= ~kReliedOnBit;
        }
    }
    auto free = std::ranges::find(sessions_, false);
    if (free != sessions_.end()) {
        *free = true;
        return static_cast<SessionNumber>(free - sessions_.begin());
    }
    assert(sessions_.size() < kMostSessions);
    sessions_.push_back(true);
    return static_cast<SessionNumber>(sessions_.size() - 1);
}

void BlobIndex::end_session(SessionNumber session) {
    const std::uint32_t claim = claim_number(session);
    for (std::size_t i = 0; i < kShards; ++i) {
        std::lock_guard lock(shards_[i].mutex);
        shards_[i].erase_if([&](const Entry& entry) { return entry.number() == claim; });
    }
    std::lock_guard lock(sessions_mutex_);
    sessions_[session] = false;
}

BlobIndex::Claim BlobIndex::claim(const BlobHandle& handle, SessionNumber session) {
    const std::uint32_t claim = claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(handle, [&](const Entry& candidate) {
        return !candidate.is_claim() || candidate.number() == claim;
    });
    if (!entry) {
        shard.insert({handle.id, type_bit(handle.type) | claim, 0, 0, 0});
        return Claim::granted;
    }
    if (entry->is_claim()) return Claim::claimed;
    entry->word |= kReliedOnBit;
    any_relied_on_.store(true, std::memory_order_relaxed);
    return Claim::known;
}

bool BlobIndex::rely_on(const BlobHandle& handle, SessionNumber session) {
    const std::uint32_t claim = claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    Entry* entry = shard.find(handle, [&](const Entry& candidate) {
        return !candidate.is_claim() || candidate.number() == claim;
    });
    if (!entry) return false;
    if (!entry->is_claim()) {
        entry->word |= kReliedOnBit;
        any_relied_on_.store(true, std::memory_order_relaxed);
    }
    return true;
}

void BlobIndex::settle(const BlobHandle& handle, SessionNumber session, PackNumber pack,
                       std::uint32_t offset, std::uint32_t length,
                       std::uint32_t uncompressed_length) {
    const std::uint32_t claim = claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    Entry* entry =
        shard.find(handle, [&](const Entry& candidate) { return candidate.number() == claim; });
    assert(entry);
    if (!entry) return;
    // What a session stored it relies on, too: its snapshot will name it.
    entry->word = type_bit(handle.type) | kReliedOnBit | pack;
    entry->offset = offset;
    entry->length = length;
    entry->uncompressed_length = uncompressed_length;
    any_relied_on_.store(true, std::memory_order_relaxed);
}

void BlobIndex::each(
    const std::function<void(const BlobHandle&, const BlobLocation&)>& visit) const {
    std::vector<Entry> copy;
    for (std::size_t i = 0; i < kShards; ++i) {
        const Shard& shard = shards_[i];
        copy.clear();
        std::vector<PackId> ids;
        {
            std::lock_guard lock(shard.mutex);
            copy.reserve(shard.count);
            for (std::uint32_t n = 0; n < shard.count; ++n)
                if (!shard.at(n).is_claim()) copy.push_back(shard.at(n));
            // Resolved under the shard's lock: later a number may belong to another pack.
            std::shared_lock packs_lock(packs_mutex_);
            ids.reserve(copy.size());
            for (const Entry& entry : copy) ids.push_back(packs_[entry.number()].id);
        }
        for (std::size_t n = 0; n < copy.size(); ++n)
            visit(copy[n].handle(),
                  {ids[n], copy[n].offset, copy[n].length, copy[n].uncompressed_length});
    }
}

std::uint64_t BlobIndex::size() const {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < kShards; ++i) {
        std::lock_guard lock(shards_[i].mutex);
        all += shards_[i].count;
    }
    return all;
}

std::size_t BlobIndex::memory_bytes() const {
    std::size_t bytes = kShards * sizeof(Shard);
    for (std::size_t i = 0; i < kShards; ++i) {
        std::lock_guard lock(shards_[i].mutex);
        bytes += shards_[i].blocks.size() * kBlock * sizeof(Entry);
        if (shards_[i].slots)
            bytes += (shards_[i].slot_mask + std::size_t{1}) * sizeof(std::uint32_t);
    }
    std::shared_lock lock(packs_mutex_);
    return bytes + packs_.capacity() * sizeof(Pack) + pack_numbers_.size() * 64;
}

}  // namespace backup
