// Scheduler decides whether a set's next run may begin, and if not, what keeps it, since when, and
// when it is expected. Pure decisions; what is remembered between two of them is Deferrals.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/policy/policy.h"
#include "daemon/schedule/reason.h"
#include "daemon/schedule/run_times.h"
#include "daemon/schedule/window_plan.h"

namespace backup {

struct ScheduleQuestion {
    const BackupSet& set;
    const RunFacts& facts;
    const WindowPlan& windows;
    // What keeps the set's runs apart from its windows: of the machine, the repository, people.
    const std::vector<Reason>& holds;
    std::string_view machine;
    Timestamp now;
};

struct Verdict {
    std::optional<Due> due;
    // What keeps the run that is due; when none is, what would in any case (a pause, a guard).
    std::vector<Reason> reasons;
    // When the next run begins, as far as that can be foreseen: reasons whose end is not known are
    // taken to end now.
    std::optional<Timestamp> start;
    // When to ask again although nothing happened.
    std::optional<Timestamp> ask_again;
    // Since when a run is due and does not begin; nothing: none is put off.
    std::optional<Timestamp> deferred_since;
    // It is put off for longer than the set allows, and a window of its own has passed meanwhile.
    bool is_escalated = false;

    bool may_begin(Timestamp now) const { return due && due->at <= now && reasons.empty(); }
};
Verdict decide(const ScheduleQuestion& question);

// What keeps a run that is under way from going on.
std::vector<Reason> holding(const WindowPlan& windows, const std::vector<Reason>& holds,
                            const Ignored& ignored, Timestamp now);

// Without those that are ignored.
std::vector<Reason> remaining(std::vector<Reason> reasons, const Ignored& ignored);

// By when the set must have succeeded again after a success at that time: twice its interval, a day
// without one; with windows, at the end of the one that is open then or comes next.
Timestamp success_deadline(const BackupSet& set, const WindowPlan& windows, Timestamp success);

// Deferrals remembers since when each reason of each set holds.
class Deferrals {
  public:
    struct Change {
        std::string set;
        Reason reason;
        bool ended = false;
    };
    // Fills in `since` and tells what is new and what ended.
    std::vector<Change> update(const std::string& set, std::vector<Reason>& reasons, Timestamp now);
    // Fills in `since` and remembers nothing.
    void look_up(const std::string& set, std::vector<Reason>& reasons, Timestamp now) const;
    void forget(const std::string& set) { known_.erase(set); }
    const std::map<std::string, std::map<Condition, Reason>>& known() const { return known_; }
    // Of the daemon before this one: a reason that holds again holds since then. What services of
    // the machine tell is not known at once, everything else is.
    void restore(const std::string& set, Condition condition, Timestamp since) {
        before_[{set, condition}] = since;
    }
    void forget_restored() { before_.clear(); }
    void forget_restored_but_of_host();
    const std::map<std::pair<std::string, Condition>, Timestamp>& restored() const {
        return before_;
    }

  private:
    std::map<std::string, std::map<Condition, Reason>> known_;
    std::map<std::pair<std::string, Condition>, Timestamp> before_;
};

}  // namespace backup
