// How far behind protection is, in one word; what is due when. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

// What the loop knows of a set.
struct SetStatus {
    SetRecord record;
    std::uint32_t revision_count = 0;
    bool is_asked = false;  // a guard's question is open
};
// And of a repository.
struct RepositoryFacts {
    RepositoryRecord record;
    RepositoryStatus status;
};
using SetStatuses = std::map<std::string, SetStatus>;
using RepositoryStatuses = std::map<std::string, RepositoryFacts>;

enum class Health : std::uint8_t { ok, degraded, at_risk, unknown };
const char* to_string(Health health);

// The age of the last success that a set promises not to exceed: twice its interval, a day without
// one.
Duration promised_age(const BackupSet& set);
// at_risk: an enabled set that never succeeded, or about which something is asked, or damage in its
// repository. degraded: a promise exceeded, differences that a full run found and no change
// explains, a repository without its password, a configuration that does not load. unknown: no
// enabled set.
Health judge_health(const Policy& policy, const SetStatuses& sets,
                    const RepositoryStatuses& repositories, bool config_is_good, Timestamp now);
// When the set's next automatic run is due (possibly in the past), or nothing.
std::optional<Timestamp> next_run(const BackupSet& set, const SetRecord& record, Timestamp now);
// When the next collection of a repository is due (possibly in the past), or nothing.
std::optional<Timestamp> next_collection(const RepositoryPolicy& policy,
                                         const RepositoryRecord& record, Timestamp now);
// None has come to its end in more than two of its periods.
bool is_collection_late(const RepositoryPolicy& policy, const RepositoryRecord& record,
                        Timestamp now);
// One key only, its password made by us, the sheet never tried.
bool needs_reminder(const RepositoryFacts& repository);

}  // namespace backup
