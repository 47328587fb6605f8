#include "daemon/jobs/history_keeper.h"

#include <algorithm>
#include <map>
#include <set>

#include <pthread.h>

#include "common/log.h"
#include "daemon/runtime/thread_priority.h"

namespace backup {

namespace {

constexpr Duration kFirstPatience = std::chrono::seconds(2);
constexpr Duration kMostPatience = std::chrono::minutes(15);

using Lines = std::map<std::string, std::vector<LineRevision>>;  // by key

Lines lines_of(const std::vector<Revision>& revisions, const std::string& repository_id) {
    Lines lines;
    for (const Revision& revision : revisions) {
        auto name = line_of(revision, repository_id);
        if (!name) continue;
        lines[name->key()].push_back({.identity = revision.identity(),
                                      .id = revision.id(),
                                      .number = name->set.empty() ? 0 : revision.tags.number,
                                      .time = revision.snapshot().time,
                                      .tree = revision.snapshot().tree,
                                      .hidden = revision.is_trashed()});
    }
    return lines;
}

// Trees of revisions that other machines made are known only after their indexes were loaded: at
// the first tree that is read, and not when there is nothing to feed.
class FreshTrees final : public BlobSource {
  public:
    FreshTrees(Repository& repository, std::stop_token stop)
        : repository_(repository), stop_(std::move(stop)) {}

    Result<Bytes> load(const BlobHandle& handle) override {
        if (!is_fresh_) TRY(repository_.refresh_index(stop_));
        is_fresh_ = true;
        return repository_.blobs().load(handle);
    }
    Result<> check(const BlobHandle& handle) override { return repository_.blobs().check(handle); }
    bool contains(const BlobHandle& handle) const override {
        return repository_.blobs().contains(handle);
    }
    std::optional<BlobLocation> locate(const BlobHandle& handle) const override {
        return repository_.blobs().locate(handle);
    }
    Result<> load_from_pack(const PackId& pack, std::span<const Wanted> wanted,
                            const EachBlob& each) override {
        return repository_.blobs().load_from_pack(pack, wanted, each);
    }

  private:
    Repository& repository_;
    const std::stop_token stop_;
    bool is_fresh_ = false;
};

}  // namespace

std::optional<LineName> line_of(const Revision& revision, const std::string& repository_id) {
    if (revision.tags.trigger == "pre-restore") return std::nullopt;
    LineName name{repository_id, revision.snapshot().hostname, revision.tags.set, {}};
    if (name.set.empty()) {
        name.paths = revision.snapshot().paths;
        std::ranges::sort(name.paths);
    }
    return name;
}

bool is_adopted(const LineName& line, const BackupSet& set) {
    const SetOnHost own = line_of(set);
    return !line.set.empty() &&
           std::ranges::find(own.adopted, std::pair(line.host, line.set)) != own.adopted.end();
}

// Snapshots of other programs are older than the set of a repository that was adopted.
bool is_wished(const LineName& line, const BackupSet& set, const LineWish& wish) {
    if (wish.adopted && (!wish.host || *wish.host == "*" || *wish.host == line.host) &&
        is_adopted(line, set))
        return true;
    const std::string host = wish.host.value_or(host_of(set));
    if (host != "*" && line.host != host) return false;
    return wish.any_set || line.set.empty() || line.set == set.id;
}

HistoryKeeper::HistoryKeeper(RepositoryPool& pool, StateStore& store, EventLog& events,
                             std::string folder)
    : pool_(pool), store_(store), events_(events), index_(std::move(folder)) {
    thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

HistoryKeeper::~HistoryKeeper() {
    thread_.request_stop();
    std::lock_guard lock(mutex_);
    feeding_.request_stop();
}

void HistoryKeeper::set_policy(std::shared_ptr<const Policy> policy) {
    std::lock_guard lock(mutex_);
    policy_ = std::move(policy);
    poked_ = true;
    changed_.notify_all();
}

void HistoryKeeper::poke() {
    std::lock_guard lock(mutex_);
    poked_ = true;
    changed_.notify_all();
}

void HistoryKeeper::give_way(bool jobs_run) {
    std::lock_guard lock(mutex_);
    jobs_run_ = jobs_run;
    if (jobs_run)
        feeding_.request_stop();
    else
        changed_.notify_all();
}

void HistoryKeeper::work(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "history");
    give_way_to_other_threads();
    std::string told;
    Duration patience = kFirstPatience;
    bool failed = false;
    for (;;) {
        std::shared_ptr<const Policy> policy;
        std::stop_token feeding;
        {
            std::unique_lock lock(mutex_);
            const auto is_due = [this] { return policy_ && poked_ && !jobs_run_; };
            // After a failure nobody may come and say when it is worth another try.
            const bool waits = failed && !changed_.wait_for(lock, stop, patience, is_due);
            if (waits && !stop.stop_requested()) {
                patience = std::min(2 * patience, kMostPatience);
                poked_ = true;
            }
            if (!changed_.wait(lock, stop, is_due)) return;
            poked_ = false;
            policy = policy_;
            feeding_ = std::stop_source();
            feeding = feeding_.get_token();
            if (stop.stop_requested()) return;
        }
        auto done = follow(*policy, feeding);
        failed = !done.ok() && done.error().kind() != ErrorKind::cancelled;
        if (done.ok()) {
            told.clear();
            patience = kFirstPatience;
            continue;
        }
        if (done.error().kind() == ErrorKind::cancelled) {
            std::lock_guard lock(mutex_);
            poked_ = true;  // goes on when nothing runs any more
        } else if (done.error().message() != told) {
            told = done.error().message();
            events_.add(LogLevel::notice, "the index of history is behind: " + told);
        }
    }
}

Result<> HistoryKeeper::follow(const Policy& policy, const std::stop_token& stop) {
    std::set<std::string> names;
    for (const auto& [id, set] : policy.sets) names.insert(set.repository);
    std::optional<Error> problem;
    for (const std::string& name : names) {
        auto done = follow_repository(name, policy, stop);
        if (done.ok()) continue;
        if (done.error().kind() == ErrorKind::cancelled) return done;
        // One that cannot be reached tells so itself.
        if (pool_.status(name).state == RepositoryState::ready) problem = std::move(done).error();
    }
    drop_strangers(policy);
    if (problem) return *problem;
    return {};
}

Result<> HistoryKeeper::follow_repository(const std::string& name, const Policy& policy,
                                          const std::stop_token& stop) {
    RepositoryHandle opened = TRY(pool_.open(name));
    Repository& repository = *opened->repository;
    const std::string& id = repository.config().id;
    Lines lines = lines_of(all_revisions(TRY(repository.list_revisions())), id);
    FreshTrees trees(repository, stop);
    for (auto& [key, revisions] : lines) {
        const LineName line = *LineName::parse(key);
        const bool is_ours = std::ranges::any_of(policy.sets, [&](const auto& entry) {
            return entry.second.repository == name && is_wished(line, entry.second, {});
        });
        if (!is_ours) continue;
        const auto update = TRY(index_.update(line, std::move(revisions), trees, stop));
        if (update.damaged_directories > 0)
            events_.add(LogLevel::warning,
                        "repository '" + name + "': " + std::to_string(update.damaged_directories) +
                            " directories could not be read for the index of history: `backupctl "
                            "verify` tells what is damaged");
    }
    for (const LineName& line : index_.lines())
        if (line.repository == id && !lines.contains(line.key())) TRY(index_.drop(line));
    return {};
}

// Of repositories that are not configured any more.
void HistoryKeeper::drop_strangers(const Policy& policy) {
    std::set<std::string> known;
    for (const auto& [name, repository] : policy.repositories) {
        auto record = store_.repository_record(name);
        if (!record.ok()) return;
        known.insert(record->repository_id);
    }
    for (const LineName& line : index_.lines())
        if (!known.contains(line.repository)) (void)index_.drop(line);
}

Result<AskedLines> HistoryKeeper::bring_up(const BackupSet& set, const LineWish& wish,
                                           std::stop_token stop) {
    AskedLines asked;
    std::string id;
    std::set<std::string> there;
    const auto read = [&]() -> Result<> {
        RepositoryHandle opened = TRY(pool_.open(set.repository));
        Repository& repository = *opened->repository;
        id = repository.config().id;
        Lines lines = lines_of(all_revisions(TRY(repository.list_revisions())), id);
        FreshTrees trees(repository, stop);
        for (auto& [key, revisions] : lines) {
            const LineName line = *LineName::parse(key);
            if (is_wished(line, set, wish))
                TRY(index_.update(line, std::move(revisions), trees, stop));
            there.insert(key);
        }
        return {};
    };
    auto fresh = read();
    if (!fresh.ok()) {
        if (fresh.error().kind() == ErrorKind::cancelled) return std::move(fresh).error();
        asked.behind = fresh.error().message();
        if (id.empty())
            if (auto record = store_.repository_record(set.repository); record.ok())
                id = record->repository_id;
    }
    // A line of which the repository has nothing any more is told of only when it cannot be asked.
    for (const LineName& line : index_.lines())
        if (line.repository == id && is_wished(line, set, wish) &&
            (!fresh.ok() || there.contains(line.key())))
            asked.lines.push_back(line);
    if (asked.lines.empty() && !fresh.ok()) return std::move(fresh).error();
    return asked;
}

}  // namespace backup
