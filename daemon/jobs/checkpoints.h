// What an interrupted backup left: kept in the state while it runs, found again by the next run of
// the set, protected from the collector until it expires. See daemon/archive/checkpoint.h. Any
// thread; blocking.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/result.h"
#include "daemon/archive/checkpoint.h"
#include "daemon/collection/kept_data.h"
#include "daemon/state/state_store.h"

namespace backup {

// Then whatever is in it is garbage. Long enough for a laptop that comes back from a holiday.
inline constexpr Duration kCheckpointLasts = std::chrono::hours(14 * 24);
Timestamp checkpoint_expires(const CheckpointRecord& record);
// "12 files and 345 bytes need not be read again".
std::string kept_text(const CheckpointRecord& record);
// Made before the clock was set back counts as made now.
bool is_expired(const CheckpointRecord& record, Timestamp now);

CheckpointRecord record_of(const Checkpoint& checkpoint);
// Nothing when it is none that we would write.
std::optional<Checkpoint> checkpoint_of(const CheckpointRecord& record);

// The one of this set in this repository, unless it has expired.
std::optional<CheckpointRecord> find_checkpoint(StateStore& store, const std::string& set,
                                                const std::string& repository_id, Timestamp now);
// What those that have not expired hold in this repository, and the packs that were stored for them
// and that no index names yet. Changes nothing.
Result<std::vector<KeptData>> kept_by_checkpoints(StateStore& store,
                                                  const std::string& repository_id, Timestamp now);
// For collections: forgets those that have expired, and with them such packs in this repository.
Result<> drop_expired_checkpoints(StateStore& store, const std::string& repository_id,
                                  Timestamp now);

// Of one run: remembers its checkpoints, but none that holds less than the one that it resumed.
class CheckpointKeeper {
  public:
    CheckpointKeeper(StateStore& store, std::string set, CheckpointRecord run)
        : store_(store), set_(std::move(set)), run_(std::move(run)) {}
    // `bytes`: in the one that the run takes up.
    void resumes(std::uint64_t bytes) { least_ = bytes; }
    Result<> keep(const Checkpoint& checkpoint, Timestamp now);
    // The last one that was remembered.
    const std::optional<CheckpointRecord>& kept() const { return kept_; }

  private:
    StateStore& store_;
    const std::string set_;
    const CheckpointRecord run_;  // repository, job, begin, trigger
    std::uint64_t least_ = 0;
    std::optional<CheckpointRecord> kept_;
};

}  // namespace backup
