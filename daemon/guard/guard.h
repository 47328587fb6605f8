// Guards: what of a run's changes must be asked about before it counts. Pure: counts, rules and
// what was asked so far in; what the run does, and what is remembered, out.
//
//   source: vanished (a path of the set is missing, or empty and another directory than before; a
//           file system is away), emptied (too many files are gone). The run is held: it makes no
//           revision, so the newest one still has everything. The question goes by itself when the
//           source is back.
//   change: mass-change. The revision is made, and the one from before is pinned until somebody
//           answers.
//
//   line:   foreign-writer (revisions of this set that this machine did not make). Both go on; who
//           should have another name is for people to say.
//
// While a question is open no rule forgets a revision of the set. One event is one question,
// however many runs see it. An approval of a source holds for one run and for what was asked about:
// when clearly more is gone by then, it is asked about anew.
#pragma once

#include <cstdint>
#include <string>

#include "common/clock.h"
#include "daemon/archive/change_signs.h"
#include "daemon/policy/policy.h"
#include "daemon/state/state_store.h"

namespace backup {

inline constexpr const char* kGuardVanished = "vanished";
inline constexpr const char* kGuardEmptied = "emptied";
inline constexpr const char* kGuardMassChange = "mass-change";
inline constexpr const char* kGuardForeignWriter = "foreign-writer";

// What the signs alone say. `opaque`, `could`: of earlier runs of the same day.
struct GuardVerdict {
    enum class Kind : std::uint8_t { fine, emptied, mass_change };
    Kind kind = Kind::fine;
    bool by_content = false;  // a mass change that may have begun in an earlier run of the day
    std::string sentence;     // what was found; no names
};
GuardVerdict judge(const ChangeSigns& signs, const GuardRules& rules, std::uint64_t opaque = 0,
                   std::uint64_t could = 0);

// A run at the time that it would make its revision.
struct GuardedRunFacts {
    std::uint64_t job = 0;
    Timestamp now{};
    // The first id of the newest revision that counts: none in the trash is ever clean.
    std::string parent;
    std::uint64_t parent_number = 0;
};

struct GuardStep {
    bool is_held = false;   // make no revision
    bool is_asked = false;  // with this run: tell it
    std::string message;    // why it is held, or what is asked
    GuardRecord after;
};
GuardStep review(const GuardRecord& record, const ChangeSigns& signs, const GuardRules& rules,
                 const GuardedRunFacts& run);
// Part of the source is not there.
struct MissingPart {
    std::string sentence;      // empty: all is there
    std::uint64_t places = 0;  // how many are missing; more than were approved are asked about anew
    bool holds = false;        // the run is to be held; else what is missing is kept as the last
                               // revision has it
};
GuardStep miss(const GuardRecord& record, const MissingPart& part, const GuardedRunFacts& run);
// Somebody else makes revisions under this set's and this machine's name, up to `number`: a machine
// that was cloned, or a state that was brought back. Holds nothing.
GuardStep meet(const GuardRecord& record, const std::string& sentence, std::uint64_t number,
               const GuardedRunFacts& run);
// The run that began at that time made its revision. `is_missing`: part of the source is not there,
// still.
GuardRecord committed(const GuardRecord& record, bool is_missing, Timestamp begun);

GuardRecord approve(const GuardRecord& record, Timestamp now);
GuardRecord reject(const GuardRecord& record, Timestamp now);

// Why no run may begin: a change was rejected. Empty: it may.
std::string why_held(const GuardRecord& record);

}  // namespace backup
