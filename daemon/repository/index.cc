#include "daemon/repository/index.h"

#include <algorithm>
#include <cassert>

#include "daemon/repository/index_shard.h"

namespace backup {

namespace {

constexpr std::size_t kShards = 256;
constexpr std::size_t kMostSessions = 0xffff;

}  // namespace

BlobIndex::BlobIndex(const DamageBook* damage)
    : damage_(damage), shards_(std::make_unique<Shard[]>(kShards)) {}
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
            assert(packs_.size() < IndexEntry::kFirstClaim);
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
    auto is_it = [&](const Entry& entry) {
        return entry.number() == pack && entry.offset == offset;
    };
    if (shard.find(handle, is_it) || shard.find_in_table(handle, is_it) != Shard::kNone)
        return false;
    shard.insert(
        {handle.id, Entry::type_bit(handle.type) | pack, offset, length, uncompressed_length});
    return true;
}

// With the shard's mutex held. False if there is no copy.
bool BlobIndex::note_relied_on(Shard& shard, const BlobHandle& handle) {
    auto accept = [this](const Entry& entry) { return !entry.is_claim() && is_reliable(entry); };
    if (Entry* entry = shard.find(handle, accept)) {
        entry->word |= Entry::kReliedOnBit;
    } else {
        const std::uint32_t place = shard.find_in_table(handle, accept);
        if (place == Shard::kNone) return false;
        shard.note_relied_on(place);
    }
    any_relied_on_.store(true, std::memory_order_relaxed);
    return true;
}

bool BlobIndex::is_reliable(const Entry& entry) const {
    if (is_damaged(entry)) return false;
    if (!any_marked_.load(std::memory_order_acquire)) return true;
    std::shared_lock lock(packs_mutex_);
    return !packs_[entry.number()].is_marked;
}

bool BlobIndex::is_damaged(const Entry& entry) const {
    if (damage_ == nullptr || !damage_->any()) return false;
    std::shared_lock lock(packs_mutex_);
    return damage_->has(packs_[entry.number()].id, entry.handle());
}

bool BlobIndex::is_reliable(const BlobHandle& handle) const {
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    auto accept = [this](const Entry& entry) { return !entry.is_claim() && is_reliable(entry); };
    return shard.find(handle, accept) || shard.find_in_table(handle, accept) != Shard::kNone;
}

void BlobIndex::set_marked(const std::vector<PackId>& packs) {
    std::unique_lock lock(packs_mutex_);
    if (any_marked_)
        for (Pack& pack : packs_) pack.is_marked = false;
    bool any = false;
    for (const PackId& id : packs) {
        auto found = pack_numbers_.find(id);
        if (found == pack_numbers_.end()) continue;
        packs_[found->second].is_marked = true;
        any = true;
    }
    any_marked_.store(any, std::memory_order_release);
}

template <typename Forget>
void BlobIndex::forget_copies(const Forget& forget) {
    for (std::size_t i = 0; i < kShards; ++i) {
        Shard& shard = shards_[i];
        std::lock_guard lock(shard.mutex);
        std::vector<BlobHandle> relied_on;
        shard.erase_if([&](const Entry& entry) {
            if (entry.is_claim() || !forget(entry)) return false;
            if ((entry.word & Entry::kReliedOnBit) != 0) relied_on.push_back(entry.handle());
            return true;
        });
        shard.each_in_table([&](std::uint32_t place, const Entry& entry) {
            if (!forget(entry)) return;
            const std::uint32_t at = place - shard.range.begin;
            if (shard.relied_on.test(at)) relied_on.push_back(entry.handle());
            shard.gone.set(at, shard.range.end - shard.range.begin);
            ++shard.gone_count;
        });
        if (shard.table) shard.table->drop_pages(shard.range);
        for (const BlobHandle& handle : relied_on) {
            // The promise moves to another copy if there is one.
            if (!note_relied_on(shard, handle)) lost_.fetch_add(1, std::memory_order_acq_rel);
        }
    }
}

void BlobIndex::keep_only(const std::map<PackNumber, std::unordered_set<BlobHandle>>& packs) {
    forget_copies([&](const Entry& entry) {
        auto found = packs.find(entry.number());
        return found != packs.end() && !found->second.contains(entry.handle());
    });
}

std::vector<PackNumber> BlobIndex::release_packs(const std::vector<PackNumber>& packs) {
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
    if (gone.empty()) return gone;

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
    return gone;
}

BlobLocation BlobIndex::location_of(const Entry& entry) const {
    std::shared_lock lock(packs_mutex_);
    return {packs_[entry.number()].id, entry.offset, entry.length, entry.uncompressed_length};
}

bool BlobIndex::contains(const BlobHandle& handle) const {
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    return shard.find_copy(handle) || shard.find_in_table(handle) != Shard::kNone;
}

std::optional<BlobLocation> BlobIndex::find(const BlobHandle& handle) const {
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    auto first = [&](const auto& accept) -> std::optional<BlobLocation> {
        auto is_copy = [&](const Entry& entry) { return !entry.is_claim() && accept(entry); };
        if (const Entry* entry = shard.find(handle, is_copy)) return location_of(*entry);
        const std::uint32_t place = shard.find_in_table(handle, accept);
        if (place == Shard::kNone) return std::nullopt;
        return location_of(shard.table->at(place));
    };
    if (damage_ != nullptr && damage_->any())
        if (auto intact = first([this](const Entry& entry) { return !is_damaged(entry); }))
            return intact;
    return first([](const Entry&) { return true; });
}

std::vector<BlobLocation> BlobIndex::find_all(const BlobHandle& handle) const {
    std::vector<BlobLocation> all;
    const Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    shard.find(handle, [&](const Entry& entry) {
        if (!entry.is_claim()) all.push_back(location_of(entry));
        return false;
    });
    shard.find_in_table(handle, [&](const Entry& entry) {
        all.push_back(location_of(entry));
        return false;
    });
    if (damage_ != nullptr && damage_->any())
        std::ranges::stable_partition(
            all, [&](const BlobLocation& place) { return !damage_->has(place.pack, handle); });
    return all;
}

SessionNumber BlobIndex::begin_session() {
    std::lock_guard lock(sessions_mutex_);
    bool is_first = std::ranges::find(sessions_, true) == sessions_.end();
    if (is_first && any_relied_on_.exchange(false)) {
        for (std::size_t i = 0; i < kShards; ++i) {
            std::lock_guard shard_lock(shards_[i].mutex);
            for (std::uint32_t n = 0; n < shards_[i].count; ++n)
                shards_[i].at(n).word &= ~Entry::kReliedOnBit;
            shards_[i].relied_on.clear();
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
    const std::uint32_t claim = Entry::claim_number(session);
    for (std::size_t i = 0; i < kShards; ++i) {
        std::lock_guard lock(shards_[i].mutex);
        shards_[i].erase_if([&](const Entry& entry) { return entry.number() == claim; });
    }
    std::lock_guard lock(sessions_mutex_);
    sessions_[session] = false;
}

BlobIndex::Claim BlobIndex::claim(const BlobHandle& handle, SessionNumber session) {
    const std::uint32_t claim = Entry::claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    if (note_relied_on(shard, handle)) return Claim::known;
    auto is_own = [&](const Entry& entry) { return entry.number() == claim; };
    if (shard.find(handle, is_own)) return Claim::claimed;
    shard.insert({handle.id, Entry::type_bit(handle.type) | claim, 0, 0, 0});
    return Claim::granted;
}

bool BlobIndex::rely_on(const BlobHandle& handle, SessionNumber session) {
    const std::uint32_t claim = Entry::claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    auto is_own = [&](const Entry& entry) { return entry.number() == claim; };
    return note_relied_on(shard, handle) || shard.find(handle, is_own);
}

void BlobIndex::settle(const BlobHandle& handle, SessionNumber session, PackNumber pack,
                       std::uint32_t offset, std::uint32_t length,
                       std::uint32_t uncompressed_length) {
    const std::uint32_t claim = Entry::claim_number(session);
    Shard& shard = shard_of(handle.id);
    std::lock_guard lock(shard.mutex);
    Entry* entry =
        shard.find(handle, [&](const Entry& candidate) { return candidate.number() == claim; });
    assert(entry);
    if (!entry) return;
    // What a session stored it relies on, too: its snapshot will name it.
    entry->word = Entry::type_bit(handle.type) | Entry::kReliedOnBit | pack;
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
            copy.reserve(shard.count + (shard.range.end - shard.range.begin));
            for (std::uint32_t n = 0; n < shard.count; ++n)
                if (!shard.at(n).is_claim()) copy.push_back(shard.at(n));
            shard.each_in_table([&](std::uint32_t, const Entry& entry) { copy.push_back(entry); });
            if (shard.table) shard.table->drop_pages(shard.range);
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
    const Weight all = weight();
    return all.in_memory + all.in_table - all.gone;
}

std::size_t BlobIndex::memory_bytes() const {
    std::size_t bytes = kShards * sizeof(Shard);
    for (std::size_t i = 0; i < kShards; ++i) {
        const Shard& shard = shards_[i];
        std::lock_guard lock(shard.mutex);
        bytes += shard.blocks.size() * Shard::kBlock * sizeof(Entry);
        if (shard.slots) bytes += (shard.slot_mask + std::size_t{1}) * sizeof(std::uint32_t);
        bytes += shard.gone.memory_bytes() + shard.relied_on.memory_bytes();
    }
    std::shared_lock lock(packs_mutex_);
    return bytes + packs_.capacity() * sizeof(Pack) + pack_numbers_.size() * 64;
}

}  // namespace backup
