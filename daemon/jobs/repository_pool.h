// RepositoryPool opens repositories when they are first needed and keeps them open: deriving the
// key costs half a second, loading the index more. Thread-safe; open() and all that does I/O block
// and are not for the loop thread. Two callers who want the same repository share one opening. A
// repository stays alive while a job holds its handle, whatever the configuration says meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/jobs/journals.h"
#include "daemon/jobs/secrets.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/repository.h"
#include "daemon/state/state_store.h"

namespace backup {

enum class RepositoryState : std::uint8_t { unopened, ready, locked, unavailable, damaged };
const char* to_string(RepositoryState state);

// What is known without asking the storage.
struct RepositoryStatus {
    RepositoryState state = RepositoryState::unopened;
    std::string problem;  // why it is not ready
    std::uint64_t keys = 0;
    std::uint64_t used_bytes = 0;
};

struct OpenRepository {
    std::string name;
    OpenedBackend storage;
    std::unique_ptr<Repository> repository;  // gone before its storage
};
using RepositoryHandle = std::shared_ptr<OpenRepository>;

class RepositoryPool {
  public:
    using OpenBackend = std::function<Result<OpenedBackend>(const std::string& url)>;

    // `changed` is called from any thread with the name of a repository whose status changed.
    RepositoryPool(const Clock& clock, StateStore& store, SecretPlaces places,
                   std::function<void(const std::string& name)> changed,
                   OpenBackend open_backend = &backup::open_backend, std::string index_folder = {});
    // Large indexes are written down, so that the next start need not load them.
    ~RepositoryPool();

    // `woken` is called, from any thread, by the first open() after rest(), and by the very first.
    void on_wake(std::function<void()> woken) { woken_ = std::move(woken); }
    // For when nothing was asked for some time: gives up all memory that the next use brings back.
    // What is open stays open. Blocks. False: to be called again, see Repository::rest().
    bool rest();

    // Those that vanished or changed are dropped; the others stay open.
    void set_policies(const std::map<std::string, RepositoryPolicy>& policies);

    Result<RepositoryHandle> open(const std::string& name);
    // With this password, kept in memory as long as we run.
    Result<RepositoryHandle> unlock(const std::string& name, Secret password);
    // Opens (or makes) one beside the pool. `record`: with our lock journal.
    Result<RepositoryHandle> open_at(const RepositoryPolicy& policy, const Secret& password);
    Result<RepositoryHandle> init_at(const RepositoryPolicy& policy, const Secret& password);
    // As a fresh machine would: reads only, remembers nothing.
    Result<RepositoryHandle> open_as_stranger(const RepositoryPolicy& policy,
                                              const Secret& password);
    // Puts one that was opened beside under its name, now or as soon as the next policy names it.
    void adopt(RepositoryHandle handle);

    RepositoryStatus status(const std::string& name) const;
    // Learnt elsewhere: a check or a listing that found damage (none: all is well), bytes that a
    // backup stored, a key that came or went.
    void report_damage(const std::string& name, const std::string& problem);
    void add_used_bytes(const std::string& name, std::uint64_t bytes);
    void set_used_bytes(const std::string& name, std::uint64_t bytes);
    void set_keys(const std::string& name, std::uint64_t keys);

  private:
    struct Entry {
        RepositoryPolicy policy;
        std::mutex opening;  // held while one caller opens
        // Guarded by the pool's mutex:
        RepositoryHandle handle;
        std::optional<Secret> given;  // by unlock
        RepositoryStatus status;
    };
    std::vector<RepositoryHandle> open_ones() const;
    void remove_old_index_copies();
    std::shared_ptr<Entry> find(const std::string& name) const;
    RepositoryOptions options_for(const std::string& name);
    Result<RepositoryHandle> open_entry(Entry& entry, const Secret* password);
    Result<Secret> password_for(Entry& entry);
    void remember_opened(OpenRepository& opened);
    void set_problem(Entry& entry, const Error& error);
    void set_ready(Entry& entry, RepositoryHandle handle, std::uint64_t keys);
    void update(const std::string& name, const std::function<void(RepositoryStatus&)>& change);

    const Clock& clock_;
    StateStore& store_;
    const SecretPlaces places_;
    const std::function<void(const std::string&)> changed_;
    const OpenBackend open_backend_;
    const std::string index_folder_;  // empty: indexes are kept in memory
    std::function<void()> woken_;
    std::atomic<bool> awake_{false};
    StoredLockJournal lock_journal_;
    StoredPackJournal pack_journal_;
    StoredDamageJournal damage_journal_;
    mutable std::mutex mutex_;  // guards entries_, what Entry says, awaited_
    std::map<std::string, std::shared_ptr<Entry>> entries_;
    std::map<std::string, std::pair<RepositoryHandle, std::uint64_t>> awaited_;
};

// The directory of a repository on a local disk, or nothing: it must not be backed up into itself.
std::optional<std::string> local_directory(const std::string& url);

}  // namespace backup
