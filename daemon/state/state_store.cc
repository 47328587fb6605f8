#include "daemon/state/state_store.h"

#include <cerrno>
#include <charconv>
#include <map>
#include <mutex>
#include <utility>

#include <fcntl.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/unique_fd.h"
#include "daemon/state/job_numbers.h"
#include "daemon/state/level_store.h"
#include "daemon/state/small_file.h"
#include "daemon/state/state_codec.h"
#include "daemon/state/state_store_env.h"

namespace backup {

namespace state {
namespace {

constexpr std::size_t kMostTrimmedPerBatch = 1000;  // keys
constexpr std::size_t kIdBytes = 32;

Result<UniqueFd> lock_directory(const std::string& directory) {
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        return Error::from_errno(errno, "make the state directory " + directory);
    std::string path = directory + "/lock";
    UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return Error::from_errno(errno, "open " + path);
    if (flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
    if (errno == EWOULDBLOCK)
        return Error(ErrorKind::conflict, ErrorCode::busy,
                     "another backupd uses the state directory " + directory);
    return Error::from_errno(errno, "lock " + path);
}

// Refuses what a newer version wrote. Text that is no number counts as damage, not as a version.
Result<> check_version(const std::string& text, const std::string& directory) {
    unsigned version = 0;
    auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), version);
    bool is_number = problem == std::errc{} && (rest == text.data() + text.size() || *rest == '\n');
    if (is_number && version > kSchemaVersion)
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "the state in " + directory + " has version " + std::to_string(version) +
                         ", written by a newer backupd; this one knows " +
                         std::to_string(kSchemaVersion));
    return {};
}

class LevelStateStore final : public StateStore {
  public:
    LevelStateStore(UniqueFd lock, const std::string& directory, const Clock& clock,
                    leveldb::Env* env)
        : lock_(std::move(lock)),
          directory_(directory),
          level_(directory + "/state", clock, env),
          numbers_(directory + "/job-number") {}

    Result<> open() {
        TRY(level_.open());
        std::string version;
        if (TRY(level_.get(std::string(kVersionKey), version)))
            TRY(check_version(version, directory_));
        else
            TRY(put(std::string(kVersionKey), std::to_string(kSchemaVersion)));
        std::string stored;
        bool has_number = TRY(level_.get(std::string(kNumberKey), stored));
        return numbers_.load(has_number ? decode_number(stored).value_or(0) : 0);
    }
    bool recovered() const { return level_.recoveries() != 0; }

    Result<std::uint64_t> begin_job(JobRecord record) override {
        std::lock_guard guard(mutex_);
        record.id = TRY(numbers_.next());
        leveldb::WriteBatch batch;
        batch.Put(std::string(kNumberKey), encode_number(record.id));
        batch.Put(job_key(record.id), encode(record));
        batch.Put(unfinished_key(record.id), "");
        TRY(level_.write("record the begin of a job", batch, true));
        numbers_.take(record.id);
        return record.id;
    }

    Result<> end_job(const JobRecord& record) override {
        std::lock_guard guard(mutex_);
        next_lines_.erase(record.id);
        leveldb::WriteBatch batch;
        batch.Put(job_key(record.id), encode(record));
        batch.Delete(unfinished_key(record.id));
        return level_.write("record the end of a job", batch, true);
    }

    Result<std::vector<JobRecord>> jobs(std::size_t limit, std::uint64_t before) override {
        std::lock_guard guard(mutex_);
        std::vector<JobRecord> found;
        std::string from = before == 0 ? std::string(1, kJobPrefix + 1) : job_key(before);
        TRY(level_.scan_back(
            std::string(1, kJobPrefix), from, [&] { found.clear(); },
            [&](std::string_view, std::string_view value) {
                if (found.size() >= limit) return false;
                if (auto record = decode_job(value); record.ok())
                    found.push_back(std::move(record).value());
                return true;
            }));
        return found;
    }

    Result<std::optional<JobRecord>> job(std::uint64_t id) override {
        std::lock_guard guard(mutex_);
        return load_job(id);
    }

    Result<std::vector<JobRecord>> unfinished_jobs() override {
        std::lock_guard guard(mutex_);
        std::vector<std::uint64_t> ids;
        std::string prefix(1, kUnfinishedPrefix);
        TRY(level_.scan(
            prefix, prefix, [&] { ids.clear(); },
            [&](std::string_view key, std::string_view) {
                if (auto id = id_of_key(key)) ids.push_back(*id);
                return true;
            }));
        std::vector<JobRecord> found;
        for (std::uint64_t id : ids) {
            auto record = TRY(load_job(id));
            if (record && !record->end) found.push_back(std::move(*record));
        }
        return found;
    }

    Result<> append_lines(std::uint64_t job, const std::vector<JobLine>& lines) override {
        if (lines.empty()) return {};
        std::lock_guard guard(mutex_);
        std::uint64_t number = TRY(next_line(job));
        leveldb::WriteBatch batch;
        for (const JobLine& line : lines) batch.Put(line_key(job, number++), encode(line));
        TRY(level_.write("record what a job said", batch, false));
        next_lines_[job] = number;
        return {};
    }

    Result<> each_line(std::uint64_t job,
                       const std::function<bool(const JobLine&)>& each) override {
        // `each` runs without the lock, and may call us: a job's lines are bounded by the job.
        std::vector<JobLine> lines;
        {
            std::lock_guard guard(mutex_);
            std::string prefix = line_prefix(job);
            TRY(level_.scan(
                prefix, prefix, [&] { lines.clear(); },
                [&](std::string_view, std::string_view value) {
                    if (auto line = decode_line(value); line.ok())
                        lines.push_back(std::move(line).value());
                    return true;
                }));
        }
        for (const JobLine& line : lines)
            if (!each(line)) break;
        return {};
    }

    Result<> trim_jobs(std::size_t keep) override {
        std::lock_guard guard(mutex_);
        std::vector<std::uint64_t> surplus;
        std::size_t ended = 0;
        TRY(level_.scan_back(
            std::string(1, kJobPrefix), std::string(1, kJobPrefix + 1),
            [&] {
                surplus.clear();
                ended = 0;
            },
            [&](std::string_view key, std::string_view value) {
                auto id = id_of_key(key);
                auto record = decode_job(value);
                if (!id || (record.ok() && !record->end)) return true;
                if (++ended > keep) surplus.push_back(*id);
                return true;
            }));
        for (std::uint64_t id : surplus) TRY(erase_job(id));
        return {};
    }

    Result<SetRecord> set_record(const std::string& set) override {
        return load<SetRecord>(set_key(set), decode_set);
    }
    Result<> put_set_record(const std::string& set, const SetRecord& record) override {
        std::lock_guard guard(mutex_);
        leveldb::WriteBatch batch;
        batch.Put(set_key(set), encode(record));
        return level_.write("write the state", batch, false);
    }
    Result<GuardRecord> guard_record(const std::string& set) override {
        return load<GuardRecord>(guard_key(set), decode_guard);
    }
    Result<> put_guard_record(const std::string& set, const GuardRecord& record) override {
        std::lock_guard guard(mutex_);
        return put(guard_key(set), encode(record));
    }
    Result<RepositoryRecord> repository_record(const std::string& name) override {
        return load<RepositoryRecord>(repository_key(name), decode_repository);
    }
    Result<> put_repository_record(const std::string& name,
                                   const RepositoryRecord& record) override {
        std::lock_guard guard(mutex_);
        return put(repository_key(name), encode(record));
    }

    Result<> put_checkpoint(const std::string& set, const CheckpointRecord& record) override {
        std::lock_guard guard(mutex_);
        return put(checkpoint_key(set), encode(record));
    }
    Result<std::optional<CheckpointRecord>> checkpoint(const std::string& set) override {
        std::lock_guard guard(mutex_);
        std::string value;
        std::optional<CheckpointRecord> found;
        if (TRY(level_.get(checkpoint_key(set), value))) found = readable_checkpoint(value);
        return found;
    }
    Result<std::vector<std::pair<std::string, CheckpointRecord>>> checkpoints() override {
        std::lock_guard guard(mutex_);
        std::vector<std::pair<std::string, CheckpointRecord>> all;
        const std::string prefix(1, kCheckpointPrefix);
        TRY(level_.scan(
            prefix, prefix, [&] { all.clear(); },
            [&](std::string_view key, std::string_view value) {
                if (auto found = readable_checkpoint(value))
                    all.emplace_back(key.substr(1), std::move(*found));
                return true;
            }));
        return all;
    }
    Result<> drop_checkpoint(const std::string& set) override {
        std::lock_guard guard(mutex_);
        std::string value;
        if (!TRY(level_.get(checkpoint_key(set), value))) return {};
        leveldb::WriteBatch batch;
        batch.Delete(checkpoint_key(set));
        return level_.write("forget a checkpoint", batch, false);
    }

    Result<> remember_lock(const std::string& repository_id, const std::string& lock_hex) override {
        std::lock_guard guard(mutex_);
        // Not synced, nor is forgetting: both outlive the process, which is what they are for.
        // After a power cut a lock that is not remembered is known by its dead process, and
        // removing one that is gone does no harm.
        leveldb::WriteBatch batch;
        batch.Put(lock_key(repository_id, lock_hex), "");
        return level_.write("remember a lock", batch, false);
    }
    Result<> forget_lock(const std::string& repository_id, const std::string& lock_hex) override {
        std::lock_guard guard(mutex_);
        leveldb::WriteBatch batch;
        batch.Delete(lock_key(repository_id, lock_hex));
        return level_.write("forget a lock", batch, false);
    }
    Result<std::vector<std::string>> remembered_locks(const std::string& repository_id) override {
        std::lock_guard guard(mutex_);
        std::vector<std::string> locks;
        std::string prefix = lock_prefix(repository_id);
        TRY(level_.scan(
            prefix, prefix, [&] { locks.clear(); },
            [&](std::string_view key, std::string_view) {
                locks.emplace_back(key.substr(prefix.size()));
                return true;
            }));
        return locks;
    }

    Result<> put_pack(const std::string& repository_id, const PackRecord& record,
                      bool sync) override {
        std::lock_guard guard(mutex_);
        leveldb::WriteBatch batch;
        batch.Put(pack_prefix(repository_id) + record.pack, encode(record));
        return level_.write("remember a pack", batch, sync);
    }
    Result<> drop_packs(const std::string& repository_id,
                        const std::vector<std::string>& packs) override {
        if (packs.empty()) return {};
        leveldb::WriteBatch batch;
        const std::string prefix = pack_prefix(repository_id);
        for (const std::string& pack : packs) batch.Delete(prefix + pack);
        std::lock_guard guard(mutex_);
        return level_.write("forget packs", batch, false);
    }
    Result<std::vector<PackRecord>> packs(const std::string& repository_id) override {
        std::lock_guard guard(mutex_);
        std::vector<PackRecord> found;
        const std::string prefix = pack_prefix(repository_id);
        TRY(level_.scan(
            prefix, prefix, [&] { found.clear(); },
            [&](std::string_view key, std::string_view value) {
                PackRecord record;
                if (auto decoded = decode_pack(value); decoded.ok()) record = std::move(*decoded);
                record.pack = key.substr(prefix.size());
                found.push_back(std::move(record));
                return true;
            }));
        return found;
    }

    Result<> put_damage(const std::string& repository_id,
                        const std::vector<DamageRecord>& records) override {
        if (records.empty()) return {};
        leveldb::WriteBatch batch;
        const std::string prefix = damage_prefix(repository_id);
        for (const DamageRecord& record : records)
            batch.Put(prefix + record.pack + record.blob, "");
        std::lock_guard guard(mutex_);
        return level_.write("remember damage", batch, true);
    }
    Result<> drop_damage(const std::string& repository_id,
                         const std::vector<std::string>& packs) override {
        std::lock_guard guard(mutex_);
        leveldb::WriteBatch batch;
        for (const std::string& pack : packs) {
            const std::string prefix = damage_prefix(repository_id) + pack;
            std::vector<std::string> keys;
            TRY(level_.scan(
                prefix, prefix, [&] { keys.clear(); },
                [&](std::string_view key, std::string_view) {
                    keys.emplace_back(key);
                    return true;
                }));
            for (const std::string& key : keys) batch.Delete(key);
        }
        return level_.write("forget damage", batch, false);
    }
    Result<std::vector<DamageRecord>> damage(const std::string& repository_id) override {
        std::lock_guard guard(mutex_);
        std::vector<DamageRecord> found;
        const std::string prefix = damage_prefix(repository_id);
        TRY(level_.scan(
            prefix, prefix, [&] { found.clear(); },
            [&](std::string_view key, std::string_view) {
                const std::string_view rest = key.substr(prefix.size());
                if (rest.size() >= kIdBytes)
                    found.push_back({std::string(rest.substr(0, kIdBytes)),
                                     std::string(rest.substr(kIdBytes))});
                return true;
            }));
        return found;
    }

    Result<> write_queue(const std::string& set, const std::vector<QueueRecord>& records) override {
        if (records.empty()) return {};
        std::string prefix = queue_prefix(set);
        leveldb::WriteBatch batch;
        for (const QueueRecord& record : records) {
            if (record.value)
                batch.Put(prefix + record.key, *record.value);
            else
                batch.Delete(prefix + record.key);
        }
        std::lock_guard guard(mutex_);
        return level_.write("record what waits to be protected", batch, true);
    }

    Result<std::vector<QueueRecord>> load_queue(const std::string& set) override {
        std::lock_guard guard(mutex_);
        std::vector<QueueRecord> records;
        std::string prefix = queue_prefix(set);
        unsigned recoveries = level_.recoveries();
        TRY(level_.scan(
            prefix, prefix, [&] { records.clear(); },
            [&](std::string_view key, std::string_view value) {
                records.push_back({std::string(key.substr(prefix.size())), std::string(value)});
                return true;
            }));
        if (level_.recoveries() != recoveries)
            return Error(ErrorKind::corrupt, "the state was damaged, and what waited is forgotten");
        return records;
    }

    Result<> drop_queue(const std::string& set) override {
        std::lock_guard guard(mutex_);
        std::string prefix = queue_prefix(set);
        leveldb::WriteBatch batch;
        TRY(level_.scan(
            prefix, prefix, [&] { batch.Clear(); },
            [&](std::string_view key, std::string_view) {
                batch.Delete(std::string(key));
                return true;
            }));
        return level_.write("forget what waited to be protected", batch, true);
    }

  private:
    // All of these are called with the mutex held.

    Result<> put(const std::string& key, const std::string& value) {
        leveldb::WriteBatch batch;
        batch.Put(key, value);
        return level_.write("write the state", batch, true);
    }

    static std::optional<CheckpointRecord> readable_checkpoint(std::string_view value) {
        auto record = decode_checkpoint(value);
        if (record.ok()) return std::move(record).value();
        log_warning(record.error().message());
        return std::nullopt;
    }

    Result<std::optional<JobRecord>> load_job(std::uint64_t id) {
        std::string value;
        if (!TRY(level_.get(job_key(id), value))) return std::optional<JobRecord>();
        auto record = decode_job(value);
        if (!record.ok()) {
            log_warning(record.error().message());
            return std::optional<JobRecord>();
        }
        return std::optional<JobRecord>(std::move(record).value());
    }

    // What cannot be read counts as never written: nothing here is precious.
    template <typename T, typename Decode>
    Result<T> load(const std::string& key, Decode decode) {
        std::lock_guard guard(mutex_);
        std::string value;
        if (!TRY(level_.get(key, value))) return T{};
        auto record = decode(value);
        if (record.ok()) return std::move(record).value();
        log_warning(record.error().message());
        return T{};
    }

    Result<std::uint64_t> next_line(std::uint64_t job) {
        if (auto known = next_lines_.find(job); known != next_lines_.end()) return known->second;
        std::string prefix = line_prefix(job);
        std::uint64_t next = 0;
        TRY(level_.scan_back(
            prefix, prefix + std::string(9, '\xff'), [&] { next = 0; },
            [&](std::string_view key, std::string_view) {
                if (auto last = decode_number(key.substr(prefix.size()))) next = *last + 1;
                return false;
            }));
        return next;
    }

    // The lines go first: if it ends halfway, the job is still there to be trimmed again.
    Result<> erase_job(std::uint64_t id) {
        std::string prefix = line_prefix(id);
        while (true) {
            std::vector<std::string> keys;
            TRY(level_.scan(
                prefix, prefix, [&] { keys.clear(); },
                [&](std::string_view key, std::string_view) {
                    keys.emplace_back(key);
                    return keys.size() < kMostTrimmedPerBatch;
                }));
            if (keys.empty()) break;
            leveldb::WriteBatch batch;
            for (const std::string& key : keys) batch.Delete(key);
            TRY(level_.write("drop old jobs", batch, false));
        }
        leveldb::WriteBatch batch;
        batch.Delete(job_key(id));
        batch.Delete(unfinished_key(id));
        return level_.write("drop old jobs", batch, false);
    }

    const UniqueFd lock_;  // first, so that it is released last
    const std::string directory_;
    std::mutex mutex_;  // guards everything below
    LevelStore level_;
    JobNumbers numbers_;
    std::map<std::uint64_t, std::uint64_t> next_lines_;  // of running jobs
};

}  // namespace

Result<std::unique_ptr<StateStore>> open_state_store(const std::string& directory,
                                                     const Clock& clock, bool* recovered,
                                                     leveldb::Env* env) {
    UniqueFd lock = TRY(lock_directory(directory));
    // Asked before LevelDB opens anything, for opening already rewrites files.
    std::string version_file = directory + "/version";
    auto version = TRY(read_small_file(version_file));
    if (version) TRY(check_version(*version, directory));
    std::string own_version = std::to_string(kSchemaVersion) + "\n";
    if (!version || *version != own_version) TRY(write_small_file(version_file, own_version));
    auto store = std::make_unique<LevelStateStore>(std::move(lock), directory, clock, env);
    TRY(store->open());
    if (recovered != nullptr) *recovered = store->recovered();
    return std::unique_ptr<StateStore>(std::move(store));
}

}  // namespace state

Result<std::unique_ptr<StateStore>> StateStore::open(const std::string& directory,
                                                     const Clock& clock, bool* recovered) {
    return state::open_state_store(directory, clock, recovered, nullptr);
}

}  // namespace backup
