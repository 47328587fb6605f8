// When a set's next run is due by the rules of its policy. What keeps a run that is due from
// beginning is the scheduler's business. Pure.
//
// Times come from a clock that may have been set: a begin that lies in the future was noted before
// the clock was set back and puts nothing off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "daemon/policy/policy.h"

namespace backup {

// What became of the set's earlier runs.
struct SetPast {
    Timestamp last_attempt{}, last_success{}, last_full{};
    Timestamp full_tried{};  // when a full run was begun by itself last
};

// Changes that no revision has yet.
struct WaitingChanges {
    Timestamp oldest{}, latest{};
};

// A run that a person asked for, and that could not begin at once.
struct AskedRun {
    Timestamp since{};
    bool is_full = false;
    std::uint32_t uid = 0;
};

struct RunFacts {
    SetPast past;
    // Nothing: none wait, or changes are not known.
    std::optional<WaitingChanges> changes;
    // When an interrupted run is taken up.
    std::optional<Timestamp> resume_at;
    bool was_parked = false;  // it was stopped in order, to be taken up as soon as it may run
    std::optional<AskedRun> asked;
    // A source is missing: it may be back although nothing changed.
    bool looks_for_source = false;
    // The machine was asleep or the daemon was not running before.
    Timestamp awake_since{};
};

struct Due {
    Timestamp at{};
    std::string trigger;  // change schedule catchup resume user
    bool is_full = false;
    // It takes up what a window's end cut off: nobody profits from a later begin.
    bool is_continued = false;
    std::uint32_t uid = 0;
};

// The last run began an interval ago.
std::optional<Timestamp> interval_due(const BackupSet& set, const SetPast& past, Timestamp now);
// What changed has been quiet for the settle time, or has waited for long, and the last run began
// long enough ago.
std::optional<Timestamp> change_due(const BackupSet& set, const RunFacts& facts, Timestamp now);
// Everything was last read and compared `reconcile` ago. Never later than that, and up to a tenth
// of it earlier, by a share that is fixed for the machine and the set. One that failed is not begun
// anew at once.
std::optional<Timestamp> reconcile_due(const BackupSet& set, const SetPast& past,
                                       std::string_view machine, Timestamp now);

// The earliest of all; nothing: only when asked. Without a set that is switched off.
std::optional<Due> next_due(const BackupSet& set, const RunFacts& facts, std::string_view machine,
                            Timestamp now);

// What tells this machine from others: /etc/machine-id, else its name.
std::string machine_id();

}  // namespace backup
