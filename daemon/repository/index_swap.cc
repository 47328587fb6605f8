// BlobIndex and its table: what is in memory moves into a file and back.
#include <algorithm>
#include <cassert>

#include "daemon/repository/index.h"
#include "daemon/repository/index_shard.h"

namespace backup {

namespace {

constexpr std::size_t kShards = 256;

bool is_in(const std::vector<bool>& listed, PackNumber pack) {
    return pack < listed.size() && listed[pack];
}

}  // namespace

bool BlobIndex::begin_with(const IndexTable::Opened& opened) {
    if (opened.directory.packs.size() >= IndexEntry::kFirstClaim) return false;
    {
        std::unique_lock lock(packs_mutex_);
        if (!packs_.empty()) return false;
        for (const IndexTable::Pack& pack : opened.directory.packs) {
            const auto number = static_cast<PackNumber>(packs_.size());
            packs_.push_back({pack.id, 0});
            // The same pack under two numbers: not one of ours.
            if (pack.listed == 0)
                free_packs_.push_back(number);
            else if (!pack_numbers_.emplace(pack.id, number).second)
                return packs_.clear(), free_packs_.clear(), pack_numbers_.clear(), false;
        }
        for (const IndexTable::Source& source : opened.directory.sources)
            for (PackNumber pack : source.packs) ++packs_[pack].users;
        for (std::size_t i = 0; i < packs_.size(); ++i)
            if ((packs_[i].users == 0) != (opened.directory.packs[i].listed == 0))
                return packs_.clear(), free_packs_.clear(), pack_numbers_.clear(), false;
    }
    for (std::size_t i = 0; i < kShards; ++i) {
        std::lock_guard lock(shards_[i].mutex);
        shards_[i].use_table(opened.table, static_cast<std::uint8_t>(i));
    }
    return true;
}

BlobIndex::Weight BlobIndex::weight() const {
    Weight all;
    for (std::size_t i = 0; i < kShards; ++i) {
        const Shard& shard = shards_[i];
        std::lock_guard lock(shard.mutex);
        all.in_memory += shard.count;
        all.in_table += shard.range.end - shard.range.begin;
        all.gone += shard.gone_count;
    }
    return all;
}

std::vector<IndexTable::Pack> BlobIndex::packs() const {
    std::vector<IndexTable::Pack> all;
    std::shared_lock lock(packs_mutex_);
    all.reserve(packs_.size());
    for (const Pack& pack : packs_) all.push_back({pack.id, 0});
    return all;
}

Result<> BlobIndex::write_to(IndexTableWriter& writer, const std::vector<bool>& listed) const {
    std::vector<Entry> newer, older;
    for (std::size_t i = 0; i < kShards; ++i) {
        const Shard& shard = shards_[i];
        newer.clear();
        older.clear();
        {
            std::lock_guard lock(shard.mutex);
            for (std::uint32_t n = 0; n < shard.count; ++n)
                if (is_in(listed, shard.at(n).number())) newer.push_back(shard.at(n));
            older.reserve(shard.range.end - shard.range.begin);
            shard.each_in_table([&](std::uint32_t, const Entry& entry) {
                if (is_in(listed, entry.number())) older.push_back(entry);
            });
            if (shard.table) shard.table->drop_pages(shard.range);
        }
        std::ranges::sort(newer, is_before);
        auto next = newer.begin();
        for (const Entry& entry : older) {
            for (; next != newer.end() && is_before(*next, entry); ++next) TRY(writer.add(*next));
            TRY(writer.add(entry));
        }
        for (; next != newer.end(); ++next) TRY(writer.add(*next));
    }
    return {};
}

// A shard at a time: at every moment each copy is found, in memory or in one of the tables.
void BlobIndex::use_table(const std::shared_ptr<const IndexTable>& table,
                          const std::vector<bool>& listed) {
    for (std::size_t i = 0; i < kShards; ++i) {
        Shard& shard = shards_[i];
        std::lock_guard lock(shard.mutex);
        std::vector<std::uint32_t> relied_on;  // places in the new table
        std::vector<Entry> left;               // of the old table, not in the new one
        shard.each_in_table([&](std::uint32_t place, const Entry& entry) {
            const bool is_relied_on = shard.relied_on.test(place - shard.range.begin);
            if (is_in(listed, entry.number())) {
                if (is_relied_on) relied_on.push_back(table->find_copy(entry));
                return;
            }
            left.push_back(entry);
            if (is_relied_on) left.back().word |= Entry::kReliedOnBit;
        });
        if (shard.table) shard.table->drop_pages(shard.range);
        shard.erase_if([&](const Entry& entry) {
            // What was added after the file was written stays.
            if (!is_in(listed, entry.number())) return false;
            const std::uint32_t place = table->find_copy(entry);
            if (place == table->size()) return false;
            if (entry.is_relied_on()) relied_on.push_back(place);
            return true;
        });
        shard.use_table(table, static_cast<std::uint8_t>(i));
        for (std::uint32_t place : relied_on) {
            assert(place < table->size());
            shard.note_relied_on(place);
        }
        for (const Entry& entry : left) shard.insert(entry);
        table->drop_pages(shard.range);
    }
}

void BlobIndex::drop_pages() const {
    std::shared_ptr<const IndexTable> table;
    {
        std::lock_guard lock(shards_[0].mutex);
        table = shards_[0].table;
    }
    if (table) table->drop_pages();
}

}  // namespace backup
