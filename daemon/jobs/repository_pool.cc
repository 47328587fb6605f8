#include "daemon/jobs/repository_pool.h"

#include <chrono>
#include <filesystem>
#include <set>

#include <malloc.h>

#include "common/log.h"

namespace backup {

const char* to_string(RepositoryState state) {
    switch (state) {
        case RepositoryState::unopened:
            return "unopened";
        case RepositoryState::ready:
            return "ready";
        case RepositoryState::locked:
            return "locked";
        case RepositoryState::unavailable:
            return "unavailable";
        case RepositoryState::damaged:
            return "damaged";
    }
    return "unopened";
}

RepositoryPool::RepositoryPool(const Clock& clock, StateStore& store, SecretPlaces places,
                               std::function<void(const std::string&)> changed,
                               OpenBackend open_backend, std::string index_folder)
    : clock_(clock),
      store_(store),
      places_(std::move(places)),
      changed_(std::move(changed)),
      open_backend_(std::move(open_backend)),
      index_folder_(std::move(index_folder)),
      lock_journal_(store),
      pack_journal_(store),
      damage_journal_(store) {}

RepositoryPool::~RepositoryPool() {
    for (const RepositoryHandle& opened : open_ones()) opened->repository->rest();
}

std::vector<RepositoryHandle> RepositoryPool::open_ones() const {
    std::vector<RepositoryHandle> opened;
    std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : entries_)
        if (entry->handle) opened.push_back(entry->handle);
    return opened;
}

bool RepositoryPool::rest() {
    awake_ = false;
    bool is_done = true;
    for (const RepositoryHandle& opened : open_ones())
        is_done = opened->repository->rest() && is_done;
    remove_old_index_copies();
    // What the heap keeps for the next job may be hundreds of megabytes.
    ::malloc_trim(0);
    return is_done;
}

// Those of repositories that are not configured any more, and what a crash left of one being
// written.
void RepositoryPool::remove_old_index_copies() {
    if (index_folder_.empty()) return;
    std::set<std::string> wanted;
    {
        std::lock_guard lock(mutex_);
        for (const auto& [name, entry] : entries_) {
            auto record = store_.repository_record(name);
            if (!record.ok()) return;
            wanted.insert(record->repository_id + ".idx");
        }
    }
    std::error_code problem;
    const auto yesterday = std::filesystem::file_time_type::clock::now() - std::chrono::hours(24);
    for (const auto& file : std::filesystem::directory_iterator(index_folder_, problem)) {
        const auto written = file.last_write_time(problem);
        if (problem || written > yesterday || wanted.contains(file.path().filename().string()))
            continue;
        std::filesystem::remove(file.path(), problem);
    }
}

void RepositoryPool::set_policies(const std::map<std::string, RepositoryPolicy>& policies) {
    std::map<std::string, std::shared_ptr<Entry>> dropped;  // closed outside the lock
    std::lock_guard lock(mutex_);
    dropped.swap(entries_);
    for (const auto& [name, policy] : policies) {
        auto old = dropped.find(name);
        if (old != dropped.end() && old->second->policy.url == policy.url &&
            old->second->policy.password_file == policy.password_file) {
            entries_[name] = old->second;
            continue;
        }
        auto entry = std::make_shared<Entry>();
        entry->policy = policy;
        if (auto ready = awaited_.find(name); ready != awaited_.end()) {
            entry->handle = ready->second.first;
            entry->status.state = RepositoryState::ready;
            entry->status.keys = ready->second.second;
        }
        entries_[name] = std::move(entry);
    }
    awaited_.clear();
}

std::shared_ptr<RepositoryPool::Entry> RepositoryPool::find(const std::string& name) const {
    std::lock_guard lock(mutex_);
    auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : found->second;
}

Result<RepositoryHandle> RepositoryPool::open(const std::string& name) {
    auto entry = find(name);
    if (!entry)
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                     "there is no repository '" + name + "' in the configuration");
    if (!awake_.exchange(true) && woken_) woken_();
    return open_entry(*entry, nullptr);
}

Result<RepositoryHandle> RepositoryPool::unlock(const std::string& name, Secret password) {
    auto entry = find(name);
    if (!entry)
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                     "there is no repository '" + name + "' in the configuration");
    RepositoryHandle handle;
    {
        std::lock_guard lock(mutex_);
        handle = entry->handle;
    }
    if (handle) {  // open already: the password must still be right
        TRY_DURING(open_as_stranger(entry->policy, password), "repository '" + name + "'");
        return handle;
    }
    handle = TRY(open_entry(*entry, &password));
    std::lock_guard lock(mutex_);
    entry->given = std::move(password);
    return handle;
}

Result<RepositoryHandle> RepositoryPool::open_entry(Entry& entry, const Secret* password) {
    std::lock_guard opening(entry.opening);
    {
        std::lock_guard lock(mutex_);
        if (entry.handle) return entry.handle;
    }
    Secret found;
    if (password == nullptr) {
        auto searched = password_for(entry);
        if (!searched.ok()) {
            set_problem(entry, searched.error());
            return std::move(searched).error();
        }
        found = std::move(*searched);
        password = &found;
    }
    auto opened = open_at(entry.policy, *password);
    if (!opened.ok()) {
        set_problem(entry, opened.error());
        return std::move(opened).error().during("repository '" + entry.policy.name + "'");
    }
    auto keys = (*opened)->repository->list_keys();
    set_ready(entry, *opened, keys.ok() ? keys->size() : 0);
    return *opened;
}

Result<Secret> RepositoryPool::password_for(Entry& entry) {
    {
        std::lock_guard lock(mutex_);
        if (entry.given) return entry.given->copy();
    }
    const std::string& name = entry.policy.name;
    auto password = TRY_DURING(find_password(entry.policy, places_), "password of '" + name + "'");
    if (password) return std::move(*password);
    const std::string& file = entry.policy.password_file;
    return Error(ErrorKind::denied, ErrorCode::wrong_password,
                 "the password of repository '" + name + "' is not known" +
                     (file.empty() ? "" : " (its password-file " + file + " does not exist)") +
                     ": `backupctl repo unlock " + name + "` gives it for this run of the daemon");
}

RepositoryOptions RepositoryPool::options_for(const std::string& name) {
    RepositoryOptions options{.clock = &clock_,
                              .lock_journal = &lock_journal_,
                              .pack_journal = &pack_journal_,
                              .damage_journal = &damage_journal_};
    options.index_folder = index_folder_;
    options.on_damage = [this, name](const Error& error) { report_damage(name, error.message()); };
    return options;
}

Result<RepositoryHandle> RepositoryPool::open_at(const RepositoryPolicy& policy,
                                                 const Secret& password) {
    auto handle = std::make_shared<OpenRepository>();
    handle->name = policy.name;
    handle->storage = TRY(open_backend_(policy.url));
    RepositoryOptions options = options_for(policy.name);
    if (auto record = store_.repository_record(policy.name); record.ok())
        options.key_hint = KeyId::from_hex(record->key_hint);
    handle->repository = TRY(Repository::open(*handle->storage.backend, password.view(), options));
    remember_opened(*handle);
    return handle;
}

Result<RepositoryHandle> RepositoryPool::init_at(const RepositoryPolicy& policy,
                                                 const Secret& password) {
    auto handle = std::make_shared<OpenRepository>();
    handle->name = policy.name;
    handle->storage = TRY(open_backend_(policy.url));
    RepositoryOptions options = options_for(policy.name);
    handle->repository = TRY(Repository::init(*handle->storage.backend, password.view(), options));
    remember_opened(*handle);
    return handle;
}

Result<RepositoryHandle> RepositoryPool::open_as_stranger(const RepositoryPolicy& policy,
                                                          const Secret& password) {
    auto handle = std::make_shared<OpenRepository>();
    handle->name = policy.name;
    handle->storage = TRY(open_backend_(policy.url));
    handle->repository =
        TRY(Repository::open(*handle->storage.backend, password.view(), {.clock = &clock_}));
    return handle;
}

// The key that fitted is tried first next time; another repository at the same place is worth a
// warning.
void RepositoryPool::remember_opened(OpenRepository& opened) {
    auto record = store_.repository_record(opened.name);
    if (!record.ok()) return;
    RepositoryRecord before = *record;
    const std::string& id = opened.repository->config().id;
    if (!before.repository_id.empty() && before.repository_id != id) {
        log_warning("repository '" + opened.name + "' is not the one that was there before (id " +
                    before.repository_id.substr(0, 8) + ", now " + id.substr(0, 8) + ")");
        *record = RepositoryRecord{};
    }
    record->repository_id = id;
    if (auto keys = opened.repository->list_keys(); keys.ok())
        for (const KeyInfo& key : *keys)
            if (key.is_current) record->key_hint = key.id.hex();
    if (record->repository_id != before.repository_id || record->key_hint != before.key_hint)
        (void)store_.put_repository_record(opened.name, *record);
}

void RepositoryPool::adopt(RepositoryHandle handle) {
    auto keys = handle->repository->list_keys();
    auto entry = find(handle->name);
    if (!entry) {
        std::lock_guard lock(mutex_);
        awaited_[handle->name] = {handle, keys.ok() ? keys->size() : 1};
        return;
    }
    set_ready(*entry, std::move(handle), keys.ok() ? keys->size() : 1);
}

void RepositoryPool::set_ready(Entry& entry, RepositoryHandle handle, std::uint64_t keys) {
    // Damage that the last check found does not go away by starting again.
    auto record = store_.repository_record(entry.policy.name);
    const bool was_damaged = record.ok() && record->last_check_result == "errors";
    {
        std::lock_guard lock(mutex_);
        entry.handle = std::move(handle);
        if (entry.status.state != RepositoryState::damaged)
            entry.status.state = was_damaged ? RepositoryState::damaged : RepositoryState::ready;
        entry.status.problem.clear();
        entry.status.keys = keys;
    }
    changed_(entry.policy.name);
}

void RepositoryPool::set_problem(Entry& entry, const Error& error) {
    {
        std::lock_guard lock(mutex_);
        RepositoryState state = RepositoryState::unavailable;
        // Rights that are missing on the storage have no code; a password that is missing, wrong or
        // exposed has.
        if (error.code() == ErrorCode::wrong_password || error.code() == ErrorCode::access_denied)
            state = RepositoryState::locked;
        if (error.kind() == ErrorKind::corrupt) state = RepositoryState::damaged;
        entry.status.state = state;
        entry.status.problem = error.message();
    }
    changed_(entry.policy.name);
}

RepositoryStatus RepositoryPool::status(const std::string& name) const {
    std::lock_guard lock(mutex_);
    auto found = entries_.find(name);
    return found == entries_.end() ? RepositoryStatus{} : found->second->status;
}

void RepositoryPool::update(const std::string& name,
                            const std::function<void(RepositoryStatus&)>& change) {
    {
        std::lock_guard lock(mutex_);
        auto found = entries_.find(name);
        if (found == entries_.end()) return;
        change(found->second->status);
    }
    changed_(name);
}

void RepositoryPool::report_damage(const std::string& name, const std::string& problem) {
    const RepositoryState state =
        problem.empty() ? RepositoryState::ready : RepositoryState::damaged;
    {
        std::lock_guard lock(mutex_);
        auto found = entries_.find(name);
        if (found == entries_.end()) return;
        RepositoryStatus& status = found->second->status;
        // What cannot be read is told again at each listing: no news.
        if (status.state == state && status.problem == problem) return;
        status.state = state;
        status.problem = problem;
    }
    changed_(name);
}
void RepositoryPool::add_used_bytes(const std::string& name, std::uint64_t bytes) {
    update(name, [&](RepositoryStatus& status) { status.used_bytes += bytes; });
}
void RepositoryPool::set_used_bytes(const std::string& name, std::uint64_t bytes) {
    update(name, [&](RepositoryStatus& status) { status.used_bytes = bytes; });
}
void RepositoryPool::set_keys(const std::string& name, std::uint64_t keys) {
    update(name, [&](RepositoryStatus& status) { status.keys = keys; });
}

std::optional<std::string> local_directory(const std::string& url) {
    if (url.starts_with("/")) return url;
    if (url.starts_with("local:/")) return url.substr(6);
    if (url.starts_with("file:///")) return url.substr(7);
    return std::nullopt;
}

}  // namespace backup
