// What the limits of a set made of its runs, remembered with the set and put in words. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/error.h"
#include "daemon/archive/backup.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

// Of a run, in words of the bus: none without limits. "limit-NAME": that hard limit left something
// out, with its value.
std::vector<std::pair<std::string, std::uint64_t>> limit_counts(const BackupSet& set,
                                                                const LimitReport& report);
// What a run that left something out is told with: quota_exceeded.
std::optional<Error> limit_error(const BackupSet& set, const LimitReport& report);
// The set has as many revisions as it may have: no more is made.
std::optional<Error> revisions_error(const BackupSet& set, std::uint64_t revisions);

// What the end of a run tells of it; of one that made no revision, only that its number was full.
// How much of the source is not in the revision as it is now: what the exceptions of the run list,
// and what limits left out without listing each.
std::uint64_t unprotected_items(const LimitReport& report, std::uint64_t exceptions);
void note_limits(SetRecord& set, const JobRecord& record);

// New and changed bytes that count for the day of `now`, and when that day ends.
std::uint64_t churn_of_day(const SetRecord& set, Timestamp now);
// When what waits for the next day can come; nothing: nothing does.
std::optional<Timestamp> churn_renewal(const SetRecord& set);

struct LimitNow {
    std::string name;  // items bytes file-size churn revisions
    bool is_hard = false;
    std::string text, remedy;  // sentences; no file names
};
// Limits that the set is over, hard ones first.
std::vector<LimitNow> limits_over(const BackupSet& set, const SetRecord& record,
                                  std::uint64_t revisions, Timestamp now);

}  // namespace backup
