#include "daemon/jobs/journals.h"

#include <algorithm>

#include "common/log.h"

namespace backup {

namespace {

// A power cut may take what was not synced: then less than this is stored twice.
constexpr std::uint64_t kWorthASync = std::uint64_t{1} << 20;

void warn(const Result<>& done, const char* what) {
    if (!done.ok()) log_warning(std::string(what) + ": " + done.error().message());
}

std::vector<std::string> bytes_of(const std::vector<PackId>& packs) {
    std::vector<std::string> all;
    for (const PackId& pack : packs) all.push_back(bytes_of(pack));
    return all;
}

std::string bytes_of(const BlobHandle& blob) {
    return std::string(1, blob.type == BlobType::tree ? 't' : 'd') +
           std::string(as_text(blob.id.bytes));
}

std::optional<BlobHandle> blob_of(const std::string& bytes) {
    if (bytes.size() != 1 + BlobId::kSize || (bytes[0] != 'd' && bytes[0] != 't'))
        return std::nullopt;
    BlobHandle blob{bytes[0] == 't' ? BlobType::tree : BlobType::data, {}};
    std::copy(bytes.begin() + 1, bytes.end(), blob.id.bytes.begin());
    return blob;
}

}  // namespace

std::string bytes_of(const PackId& pack) {
    return std::string(as_text(pack.bytes));
}

std::optional<PackId> pack_of(const std::string& bytes) {
    if (bytes.size() != PackId::kSize) return std::nullopt;
    PackId pack;
    std::ranges::copy(bytes, pack.bytes.begin());
    return pack;
}

void StoredLockJournal::remember(const std::string& repository_id, const LockId& lock) {
    warn(store_.remember_lock(repository_id, lock.hex()), "cannot remember a lock");
}
void StoredLockJournal::forget(const std::string& repository_id, const LockId& lock) {
    warn(store_.forget_lock(repository_id, lock.hex()), "cannot forget a lock");
}
std::vector<LockId> StoredLockJournal::remembered(const std::string& repository_id) {
    std::vector<LockId> locks;
    auto listed = store_.remembered_locks(repository_id);
    if (!listed.ok()) return locks;
    for (const std::string& hex : *listed)
        if (auto id = LockId::from_hex(hex)) locks.push_back(*id);
    return locks;
}

void StoredPackJournal::remember(const std::string& repository_id, const std::string& owner,
                                 const JournalledPack& pack) {
    const PackRecord record{bytes_of(pack.id), owner, pack.size, pack.since};
    warn(store_.put_pack(repository_id, record, pack.size >= kWorthASync),
         "cannot remember a pack");
}
void StoredPackJournal::forget(const std::string& repository_id, const std::vector<PackId>& packs) {
    warn(store_.drop_packs(repository_id, bytes_of(packs)), "cannot forget packs");
}
std::vector<JournalledPack> StoredPackJournal::remembered(const std::string& repository_id,
                                                          const std::string& owner) {
    std::vector<JournalledPack> packs;
    auto listed = store_.packs(repository_id);
    if (!listed.ok()) {
        log_warning("cannot read which packs were stored: " + listed.error().message());
        return packs;
    }
    for (const PackRecord& record : *listed) {
        if (record.owner != owner) continue;
        if (auto id = pack_of(record.pack)) packs.push_back({*id, record.size, record.since});
    }
    return packs;
}

void StoredDamageJournal::remember(const std::string& repository_id,
                                   const std::vector<DamagedCopy>& copies) {
    std::vector<DamageRecord> records;
    for (const DamagedCopy& copy : copies)
        records.push_back({bytes_of(copy.pack), copy.blob ? bytes_of(*copy.blob) : std::string()});
    warn(store_.put_damage(repository_id, records), "cannot remember damage");
}
void StoredDamageJournal::forget(const std::string& repository_id,
                                 const std::vector<PackId>& packs) {
    warn(store_.drop_damage(repository_id, bytes_of(packs)), "cannot forget damage");
}
std::vector<DamagedCopy> StoredDamageJournal::remembered(const std::string& repository_id) {
    std::vector<DamagedCopy> copies;
    auto listed = store_.damage(repository_id);
    if (!listed.ok()) {
        log_warning("cannot read what is known to be damaged: " + listed.error().message());
        return copies;
    }
    for (const DamageRecord& record : *listed) {
        auto pack = pack_of(record.pack);
        auto blob = blob_of(record.blob);
        if (pack && (blob || record.blob.empty())) copies.push_back({*pack, blob});
    }
    return copies;
}

}  // namespace backup
