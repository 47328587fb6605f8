// A StateStore in memory that also writes down, in order, what was asked of it, and a clock that
// tests move. For tests only.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/state/state_store.h"

namespace backup {

class TestClock final : public Clock {
  public:
    Timestamp now() const override {
        std::lock_guard lock(mutex_);
        return now_;
    }
    MonotonicTime monotonic() const override {
        std::lock_guard lock(mutex_);
        return MonotonicTime(now_.time_since_epoch());
    }
    void advance(Duration by) {
        std::lock_guard lock(mutex_);
        now_ += by;
    }

  private:
    mutable std::mutex mutex_;
    Timestamp now_{std::chrono::seconds(1'800'000'000)};
};

class MemoryState final : public StateStore {
  public:
    bool refuse_begin = false;

    // "begin 1", "end 1 complete", in order.
    std::vector<std::string> said() const {
        std::lock_guard lock(mutex_);
        return said_;
    }

    Result<std::uint64_t> begin_job(JobRecord record) override {
        std::lock_guard lock(mutex_);
        if (refuse_begin) return Error(ErrorKind::no_space, ErrorCode::no_space, "disk full");
        record.id = ++last_;
        jobs_[record.id] = record;
        said_.push_back("begin " + std::to_string(record.id));
        return record.id;
    }
    Result<> end_job(const JobRecord& record) override {
        std::lock_guard lock(mutex_);
        jobs_[record.id] = record;
        said_.push_back("end " + std::to_string(record.id) + " " + record.outcome);
        return {};
    }
    Result<std::vector<JobRecord>> jobs(std::size_t limit, std::uint64_t before) override {
        std::lock_guard lock(mutex_);
        std::vector<JobRecord> list;
        for (auto at = jobs_.rbegin(); at != jobs_.rend() && list.size() < limit; ++at)
            if (before == 0 || at->first < before) list.push_back(at->second);
        return list;
    }
    Result<std::optional<JobRecord>> job(std::uint64_t id) override {
        std::lock_guard lock(mutex_);
        auto found = jobs_.find(id);
        if (found == jobs_.end()) return std::optional<JobRecord>();
        return std::optional<JobRecord>(found->second);
    }
    Result<std::vector<JobRecord>> unfinished_jobs() override {
        std::lock_guard lock(mutex_);
        std::vector<JobRecord> list;
        for (const auto& [id, record] : jobs_)
            if (!record.end) list.push_back(record);
        return list;
    }
    Result<> append_lines(std::uint64_t job, const std::vector<JobLine>& lines) override {
        std::lock_guard lock(mutex_);
        auto& kept = lines_[job];
        kept.insert(kept.end(), lines.begin(), lines.end());
        return {};
    }
    Result<> each_line(std::uint64_t job,
                       const std::function<bool(const JobLine&)>& each) override {
        std::vector<JobLine> lines;
        {
            std::lock_guard lock(mutex_);
            lines = lines_[job];
        }
        for (const JobLine& line : lines)
            if (!each(line)) break;
        return {};
    }
    Result<> trim_jobs(std::size_t) override { return {}; }

    Result<SetRecord> set_record(const std::string& set) override {
        std::lock_guard lock(mutex_);
        return sets_[set];
    }
    Result<> put_set_record(const std::string& set, const SetRecord& record) override {
        std::lock_guard lock(mutex_);
        sets_[set] = record;
        return {};
    }
    Result<GuardRecord> guard_record(const std::string& set) override {
        std::lock_guard lock(mutex_);
        return guards_[set];
    }
    Result<> put_guard_record(const std::string& set, const GuardRecord& record) override {
        std::lock_guard lock(mutex_);
        guards_[set] = record;
        return {};
    }
    Result<RepositoryRecord> repository_record(const std::string& name) override {
        std::lock_guard lock(mutex_);
        return repositories_[name];
    }
    Result<> put_repository_record(const std::string& name,
                                   const RepositoryRecord& record) override {
        std::lock_guard lock(mutex_);
        repositories_[name] = record;
        return {};
    }
    Result<> put_checkpoint(const std::string& set, const CheckpointRecord& record) override {
        std::lock_guard lock(mutex_);
        checkpoints_[set] = record;
        return {};
    }
    Result<std::optional<CheckpointRecord>> checkpoint(const std::string& set) override {
        std::lock_guard lock(mutex_);
        auto found = checkpoints_.find(set);
        if (found == checkpoints_.end()) return std::optional<CheckpointRecord>();
        return std::optional<CheckpointRecord>(found->second);
    }
    Result<std::vector<std::pair<std::string, CheckpointRecord>>> checkpoints() override {
        std::lock_guard lock(mutex_);
        return std::vector<std::pair<std::string, CheckpointRecord>>(checkpoints_.begin(),
                                                                     checkpoints_.end());
    }
    Result<> drop_checkpoint(const std::string& set) override {
        std::lock_guard lock(mutex_);
        checkpoints_.erase(set);
        return {};
    }
    Result<> put_pack(const std::string& repository, const PackRecord& record, bool) override {
        std::lock_guard lock(mutex_);
        packs_[repository][record.pack] = record;
        return {};
    }
    Result<> drop_packs(const std::string& repository,
                        const std::vector<std::string>& packs) override {
        std::lock_guard lock(mutex_);
        for (const std::string& pack : packs) packs_[repository].erase(pack);
        return {};
    }
    Result<std::vector<PackRecord>> packs(const std::string& repository) override {
        std::lock_guard lock(mutex_);
        std::vector<PackRecord> list;
        for (const auto& [pack, record] : packs_[repository]) list.push_back(record);
        return list;
    }
    Result<> put_damage(const std::string& repository,
                        const std::vector<DamageRecord>& records) override {
        std::lock_guard lock(mutex_);
        auto& kept = damage_[repository];
        for (const DamageRecord& record : records)
            if (std::ranges::find(kept, record) == kept.end()) kept.push_back(record);
        return {};
    }
    Result<> drop_damage(const std::string& repository,
                         const std::vector<std::string>& packs) override {
        std::lock_guard lock(mutex_);
        std::erase_if(damage_[repository], [&](const DamageRecord& record) {
            return std::ranges::find(packs, record.pack) != packs.end();
        });
        return {};
    }
    Result<std::vector<DamageRecord>> damage(const std::string& repository) override {
        std::lock_guard lock(mutex_);
        return damage_[repository];
    }
    Result<> remember_lock(const std::string& repository, const std::string& lock_hex) override {
        std::lock_guard lock(mutex_);
        locks_[repository].push_back(lock_hex);
        return {};
    }
    Result<> forget_lock(const std::string& repository, const std::string& lock_hex) override {
        std::lock_guard lock(mutex_);
        std::erase(locks_[repository], lock_hex);
        return {};
    }
    Result<std::vector<std::string>> remembered_locks(const std::string& repository) override {
        std::lock_guard lock(mutex_);
        return locks_[repository];
    }
    Result<> write_queue(const std::string& set, const std::vector<QueueRecord>& records) override {
        std::lock_guard lock(mutex_);
        for (const QueueRecord& record : records) {
            if (record.value)
                queues_[set][record.key] = *record.value;
            else
                queues_[set].erase(record.key);
        }
        return {};
    }
    Result<std::vector<QueueRecord>> load_queue(const std::string& set) override {
        std::lock_guard lock(mutex_);
        std::vector<QueueRecord> records;
        for (const auto& [key, value] : queues_[set]) records.push_back({key, value});
        return records;
    }
    Result<> drop_queue(const std::string& set) override {
        std::lock_guard lock(mutex_);
        queues_.erase(set);
        return {};
    }

  private:
    mutable std::mutex mutex_;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, JobRecord> jobs_;
    std::map<std::uint64_t, std::vector<JobLine>> lines_;
    std::map<std::string, SetRecord> sets_;
    std::map<std::string, GuardRecord> guards_;
    std::map<std::string, RepositoryRecord> repositories_;
    std::map<std::string, std::vector<std::string>> locks_;
    std::map<std::string, std::map<std::string, PackRecord>> packs_;
    std::map<std::string, std::vector<DamageRecord>> damage_;
    std::map<std::string, CheckpointRecord> checkpoints_;
    std::map<std::string, std::map<std::string, std::string>> queues_;
    std::vector<std::string> said_;
};

}  // namespace backup
