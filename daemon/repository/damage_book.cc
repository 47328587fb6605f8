#include "daemon/repository/damage_book.h"

#include <mutex>
#include <utility>

namespace backup {

DamageBook::DamageBook(DamageJournal* journal, std::string repository_id)
    : journal_(journal), repository_id_(std::move(repository_id)) {
    if (journal_ == nullptr) return;
    for (const DamagedCopy& copy : journal_->remembered(repository_id_)) note(copy);
    any_ = !packs_.empty();
}

// With the lock held. False if it is known.
bool DamageBook::note(const DamagedCopy& copy) {
    Damage& damage = packs_[copy.pack];
    if (damage.is_whole) return false;
    if (copy.blob) return damage.blobs.insert(*copy.blob).second;
    damage.is_whole = true;
    return true;
}

void DamageBook::add(const std::vector<DamagedCopy>& copies) {
    std::vector<DamagedCopy> news;
    {
        std::unique_lock lock(mutex_);
        for (const DamagedCopy& copy : copies)
            if (note(copy)) news.push_back(copy);
        any_.store(!packs_.empty(), std::memory_order_release);
    }
    if (!news.empty() && journal_ != nullptr) journal_->remember(repository_id_, news);
}

void DamageBook::forget(const std::vector<PackId>& packs) {
    std::vector<PackId> gone;
    {
        std::unique_lock lock(mutex_);
        for (const PackId& pack : packs)
            if (packs_.erase(pack) != 0) gone.push_back(pack);
        any_.store(!packs_.empty(), std::memory_order_release);
    }
    if (!gone.empty() && journal_ != nullptr) journal_->forget(repository_id_, gone);
}

bool DamageBook::has(const PackId& pack, const BlobHandle& blob) const {
    if (!any()) return false;
    std::shared_lock lock(mutex_);
    auto found = packs_.find(pack);
    return found != packs_.end() && (found->second.is_whole || found->second.blobs.contains(blob));
}

bool DamageBook::has_any_of(const PackId& pack) const {
    if (!any()) return false;
    std::shared_lock lock(mutex_);
    return packs_.contains(pack);
}

std::vector<PackId> DamageBook::packs() const {
    std::vector<PackId> all;
    std::shared_lock lock(mutex_);
    for (const auto& [pack, damage] : packs_) all.push_back(pack);
    return all;
}

}  // namespace backup
