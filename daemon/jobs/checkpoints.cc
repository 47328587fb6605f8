#include "daemon/jobs/checkpoints.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/log.h"
#include "daemon/jobs/journals.h"

namespace backup {

Timestamp checkpoint_expires(const CheckpointRecord& record) {
    return record.kept + kCheckpointLasts;
}

std::string kept_text(const CheckpointRecord& record) {
    auto plural = [](std::uint64_t count, const char* one) {
        return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
    };
    return plural(record.files, "file") + " and " + plural(record.bytes, "byte") +
           " need not be read again";
}

static bool is_expired(Timestamp kept, Timestamp now) {
    return kept <= now && kept + kCheckpointLasts <= now;
}

bool is_expired(const CheckpointRecord& record, Timestamp now) {
    return is_expired(record.kept, now);
}

CheckpointRecord record_of(const Checkpoint& checkpoint) {
    CheckpointRecord record;
    record.tree = checkpoint.tree.hex();
    record.files = checkpoint.files;
    record.bytes = checkpoint.bytes;
    record.unsettled = checkpoint.unsettled;
    for (const HalfFile& half : checkpoint.half) {
        HalfFileRecord& kept = record.half.emplace_back();
        kept.path = half.path;
        kept.inode = half.inode;
        kept.size = half.size;
        kept.mtime_seconds = half.mtime.seconds;
        kept.mtime_nanoseconds = half.mtime.nanoseconds;
        kept.ctime_seconds = half.ctime.seconds;
        kept.ctime_nanoseconds = half.ctime.nanoseconds;
        kept.bytes = half.bytes;
        kept.chunks.reserve(half.content.size() * BlobId::kSize);
        for (const BlobId& id : half.content) kept.chunks += as_text(id.bytes);
    }
    return record;
}

std::optional<Checkpoint> checkpoint_of(const CheckpointRecord& record) {
    auto tree = BlobId::from_hex(record.tree);
    if (!tree) return std::nullopt;
    Checkpoint checkpoint;
    checkpoint.tree = *tree;
    checkpoint.files = record.files;
    checkpoint.bytes = record.bytes;
    checkpoint.unsettled = record.unsettled;
    for (const HalfFileRecord& kept : record.half) {
        if (kept.chunks.size() % BlobId::kSize != 0) continue;
        HalfFile& half = checkpoint.half.emplace_back();
        half.path = kept.path;
        half.inode = kept.inode;
        half.size = kept.size;
        half.mtime = {kept.mtime_seconds, kept.mtime_nanoseconds};
        half.ctime = {kept.ctime_seconds, kept.ctime_nanoseconds};
        half.bytes = kept.bytes;
        half.content.resize(kept.chunks.size() / BlobId::kSize);
        for (std::size_t i = 0; i < half.content.size(); ++i)
            std::memcpy(half.content[i].bytes.data(), kept.chunks.data() + i * BlobId::kSize,
                        BlobId::kSize);
    }
    return checkpoint;
}

std::optional<CheckpointRecord> find_checkpoint(StateStore& store, const std::string& set,
                                                const std::string& repository_id, Timestamp now) {
    auto record = store.checkpoint(set);
    if (!record.ok()) {
        log_warning("what an interrupted backup left cannot be read: " + record.error().message());
        return std::nullopt;
    }
    if (!*record || (*record)->repository_id != repository_id || is_expired(**record, now))
        return std::nullopt;
    return std::move(*record);
}

Result<std::vector<KeptData>> kept_by_checkpoints(StateStore& store,
                                                  const std::string& repository_id, Timestamp now) {
    std::vector<KeptData> kept;
    for (auto& [set, record] : TRY(store.checkpoints())) {
        if (is_expired(record, now) || record.repository_id != repository_id) continue;
        auto checkpoint = checkpoint_of(record);
        if (!checkpoint) continue;
        KeptData& data = kept.emplace_back();
        data.tree = checkpoint->tree;
        for (const HalfFile& half : checkpoint->half)
            data.data.insert(data.data.end(), half.content.begin(), half.content.end());
    }
    KeptData unnamed;
    for (const PackRecord& record : TRY(store.packs(repository_id))) {
        auto pack = pack_of(record.pack);
        if (pack && !is_expired(record.since, now)) unnamed.packs.push_back(*pack);
    }
    if (!unnamed.packs.empty()) kept.push_back(std::move(unnamed));
    return kept;
}

Result<> drop_expired_checkpoints(StateStore& store, const std::string& repository_id,
                                  Timestamp now) {
    for (const auto& [set, record] : TRY(store.checkpoints()))
        if (is_expired(record, now)) TRY(store.drop_checkpoint(set));
    std::vector<std::string> packs;
    for (const PackRecord& record : TRY(store.packs(repository_id)))
        if (is_expired(record.since, now)) packs.push_back(record.pack);
    return store.drop_packs(repository_id, packs);
}

Result<> CheckpointKeeper::keep(const Checkpoint& checkpoint, Timestamp now) {
    if (checkpoint.bytes < least_) return {};
    CheckpointRecord record = record_of(checkpoint);
    record.repository_id = run_.repository_id;
    record.job = run_.job;
    record.begin = run_.begin;
    record.trigger = run_.trigger;
    record.kept = now;
    TRY(store_.put_checkpoint(set_, record));
    least_ = 0;
    kept_ = std::move(record);
    return {};
}

}  // namespace backup
