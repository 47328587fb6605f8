// How well all is, in one word and with what to do about it; what is due for a repository when.
// Pure.
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
    // Only for judging: all that happened before is known to be in a revision, without a gap: the
    // heartbeat of a set in which nothing changes.
    std::optional<Timestamp> proved;
    // By when it must have succeeded again; nothing: it promises nothing.
    std::optional<Timestamp> deadline;
    bool is_excused = false;  // the machine has just begun or woken up: its runs come first
    std::optional<Timestamp> deferred_since;  // a run is put off for longer than the set allows
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

// One thing that is not well. Names sets and repositories, no files.
struct HealthFinding {
    Health level = Health::degraded;
    std::string code;     // for programs: "late" "never" "asked" "damaged" ...
    std::string subject;  // "set home", "repository nas", "configuration"
    std::string reason, remedy;
    bool operator==(const HealthFinding&) const = default;
};
struct HealthReport {
    Health health = Health::unknown;
    std::vector<HealthFinding> findings;  // the worst first, in a fixed order
};
// at_risk: an enabled set that never succeeded, or for thrice as long as it promised, or about
// which something is asked, or whose last drill failed, or damage in its repository. degraded: a
// promise exceeded, a run put off for too long, a hard limit that leaves something out, a
// collection, verification or drill missed,
// differences that a full run found and no change explains, a repository without its password, a
// configuration that does not load. unknown: no enabled set.
HealthReport judge_health(const Policy& policy, const SetStatuses& sets,
                          const RepositoryStatuses& repositories, bool config_is_good,
                          Timestamp now);

// When the next collection of a repository is due (possibly in the past), or nothing.
std::optional<Timestamp> next_collection(const RepositoryPolicy& policy,
                                         const RepositoryRecord& record, Timestamp now);
// None has come to its end in more than two of its periods.
bool is_collection_late(const RepositoryPolicy& policy, const RepositoryRecord& record,
                        Timestamp now);
// The same of verifications; `tried`: when one was begun by itself last.
std::optional<Timestamp> next_verification(const RepositoryPolicy& policy,
                                           const RepositoryRecord& record, Timestamp tried,
                                           Timestamp now);
bool is_verification_late(const RepositoryPolicy& policy, const RepositoryRecord& record,
                          Timestamp now);
// And of the drills of a set.
std::optional<Timestamp> next_drill(const BackupSet& set, const SetRecord& record, Timestamp tried,
                                    Timestamp now);
bool is_drill_late(const BackupSet& set, const SetRecord& record, Timestamp now);
// One key only, its password made by us, the sheet never tried.
bool needs_reminder(const RepositoryFacts& repository);

}  // namespace backup
