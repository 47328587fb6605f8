// Which revisions of a set are kept, and by which rule each. Pure: revisions, rules and the time
// in, a decision for every revision out; what is shown before is what is done.
//
// Days, weeks, months and years are those of the zone written in the revision's own time. `daily =
// 7` keeps the newest revision of each of the seven last days that have one; the other counts
// alike. `within` counts back from the newest revision, not from now: a machine that was off for
// long, or whose clock jumped, loses nothing by it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "daemon/policy/policy.h"

namespace backup {

struct RetentionItem {
    RevisionId id;
    std::uint64_t number = 0;
    Timestamp time{};
    std::string time_text;  // RFC 3339, for its zone; empty: UTC
    bool is_pinned = false;
    std::uint64_t exceptions = 0;
    std::vector<std::string> missing;  // paths that could not be read for it
    std::vector<std::string> tags;     // those that are not ours
};

struct RetentionDecision {
    RetentionItem item;
    bool keep = true;
    // What keeps it: "last", "hourly" ... "within", "tag NAME", "pin", "minimum", "last-good" (a
    // path that could not be read for the newest one was read for this one last), "last-whole" (the
    // newest without exceptions, while newer ones have some: what could not be read since is
    // there), "time" (its time cannot be right), "frozen", "no-rules". Empty: no rule does.
    std::vector<std::string> rules;
};

// Decisions in the order of `items`, which may be any. A revision whose time cannot be right (in
// the future, or not in the order of the numbers) is kept, and counts for no rule. `frozen`: why
// nothing at all may go at present; empty: it may.
std::vector<RetentionDecision> decide_retention(std::vector<RetentionItem> items,
                                                const KeepRules& rules, Timestamp now,
                                                const std::string& frozen = {});

}  // namespace backup
