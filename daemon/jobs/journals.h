// What the engine wants remembered between runs, put into the state store: locks, packs that no
// index names yet, damage. Failures are logged: none of it is precious. Thread-safe; blocking.
#pragma once

#include "daemon/repository/repository.h"
#include "daemon/state/state_store.h"

namespace backup {

// A lock that is not remembered still goes stale by its age.
class StoredLockJournal final : public LockJournal {
  public:
    explicit StoredLockJournal(StateStore& store) : store_(store) {}
    void remember(const std::string& repository_id, const LockId& lock) override;
    void forget(const std::string& repository_id, const LockId& lock) override;
    std::vector<LockId> remembered(const std::string& repository_id) override;

  private:
    StateStore& store_;
};

class StoredPackJournal final : public PackJournal {
  public:
    explicit StoredPackJournal(StateStore& store) : store_(store) {}
    void remember(const std::string& repository_id, const std::string& owner,
                  const JournalledPack& pack) override;
    void forget(const std::string& repository_id, const std::vector<PackId>& packs) override;
    std::vector<JournalledPack> remembered(const std::string& repository_id,
                                           const std::string& owner) override;

  private:
    StateStore& store_;
};

class StoredDamageJournal final : public DamageJournal {
  public:
    explicit StoredDamageJournal(StateStore& store) : store_(store) {}
    void remember(const std::string& repository_id,
                  const std::vector<DamagedCopy>& copies) override;
    void forget(const std::string& repository_id, const std::vector<PackId>& packs) override;
    std::vector<DamagedCopy> remembered(const std::string& repository_id) override;

  private:
    StateStore& store_;
};

std::string bytes_of(const PackId& pack);
std::optional<PackId> pack_of(const std::string& bytes);

}  // namespace backup
