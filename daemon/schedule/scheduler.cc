#include "daemon/schedule/scheduler.h"

#include <algorithm>

namespace backup {

namespace {

// Shown and told although nothing waits for them.
bool always_counts(Condition condition) {
    switch (condition) {
        case Condition::paused:
        case Condition::inhibited:
        case Condition::guard:
        case Condition::locked:
        case Condition::offline:
            return true;
        case Condition::window:
        case Condition::battery:
        case Condition::metered:
        case Condition::pressure:
        case Condition::power_saver:
        case Condition::low_space:
        case Condition::sleep:
        case Condition::restore:
            return false;
    }
    return true;
}

std::string when(Timestamp time) {
    return format_rfc3339(std::chrono::floor<std::chrono::seconds>(time));
}

Reason closed(std::optional<Timestamp> opening) {
    return {Condition::window,
            opening ? "no window is open until " + when(*opening) : "no window will ever open",
            {},
            opening};
}

void sooner(std::optional<Timestamp>& time, std::optional<Timestamp> other) {
    if (other && (!time || *other < *time)) time = other;
}

}  // namespace

std::vector<Reason> remaining(std::vector<Reason> reasons, const Ignored& ignored) {
    std::erase_if(reasons, [&](const Reason& reason) { return ignored.has(reason.condition); });
    return reasons;
}

Verdict decide(const ScheduleQuestion& question) {
    const Timestamp now = question.now;
    Verdict verdict;
    verdict.due = next_due(question.set, question.facts, question.machine, now);
    const bool is_due = verdict.due && verdict.due->at <= now;
    for (const Reason& reason : question.holds) {
        if (is_due || always_counts(reason.condition)) verdict.reasons.push_back(reason);
        sooner(verdict.ask_again, reason.until);
    }
    if (!verdict.due) return verdict;

    Timestamp from = std::max(verdict.due->at, now);
    bool will_end = true;
    for (const Reason& reason : verdict.reasons) {
        // A pause without an end, and what only a person can end.
        if (!reason.until &&
            (reason.condition == Condition::paused || reason.condition == Condition::guard))
            will_end = false;
        if (reason.until) from = std::max(from, *reason.until);
    }
    // Somebody who asks for a run wants it as soon as there is a window.
    const bool is_continued = verdict.due->is_continued || verdict.due->trigger == "user";
    if (will_end) verdict.start = question.windows.next_start(from, question.machine, is_continued);
    if (!is_due) {
        sooner(verdict.ask_again, verdict.due->at);
        return verdict;
    }
    const auto start = question.windows.next_start(now, question.machine, is_continued);
    if (!start || *start > now) {
        const Calendar::State state = question.windows.at(now);
        Reason reason = closed(start);
        if (state.is_open && start)
            reason.text = "this machine begins at " + when(*start) + ", its share of the window";
        verdict.reasons.push_back(std::move(reason));
        sooner(verdict.ask_again, start);
    }
    if (verdict.reasons.empty()) return verdict;
    verdict.deferred_since = verdict.due->at;
    if (question.set.max_deferral_seconds != 0) {
        Timestamp limit = verdict.due->at + std::chrono::seconds(question.set.max_deferral_seconds);
        if (const auto end = question.windows.end_of_next_window(verdict.due->at))
            limit = std::max(limit, *end);
        verdict.is_escalated = now >= limit;
        if (!verdict.is_escalated) sooner(verdict.ask_again, limit);
    }
    return verdict;
}

std::vector<Reason> holding(const WindowPlan& windows, const std::vector<Reason>& holds,
                            const Ignored& ignored, Timestamp now) {
    std::vector<Reason> reasons;
    for (const Reason& reason : holds)
        // A run that is under way has an answer to the guard's question, and finds out itself what
        // becomes of its storage.
        if (reason.condition != Condition::guard && reason.condition != Condition::locked &&
            reason.condition != Condition::low_space)
            reasons.push_back(reason);
    if (!windows.at(now).is_open) reasons.push_back(closed(windows.next_opening(now)));
    return remaining(std::move(reasons), ignored);
}

Timestamp success_deadline(const BackupSet& set, const WindowPlan& windows, Timestamp success) {
    using std::chrono::seconds;
    const Duration promised = set.interval_seconds == 0
                                  ? Duration(std::chrono::hours(24))
                                  : Duration(2 * seconds(set.interval_seconds));
    const Timestamp promise = success + promised;
    return windows.end_of_next_window(promise).value_or(promise);
}

void Deferrals::look_up(const std::string& set, std::vector<Reason>& reasons, Timestamp now) const {
    const auto known = known_.find(set);
    for (Reason& reason : reasons) {
        if (known != known_.end())
            if (auto before = known->second.find(reason.condition); before != known->second.end())
                reason.since = before->second.since;
        if (reason.since == Timestamp{} || reason.since > now) reason.since = now;
    }
}

std::vector<Deferrals::Change> Deferrals::update(const std::string& set,
                                                 std::vector<Reason>& reasons, Timestamp now) {
    std::vector<Change> changes;
    auto& known = known_[set];
    std::map<Condition, Reason> next;
    for (Reason& reason : reasons) {
        const auto before = known.find(reason.condition);
        if (before == known.end()) {
            if (auto restored = before_.extract({set, reason.condition}); !restored.empty())
                reason.since = restored.mapped();
            if (reason.since == Timestamp{} || reason.since > now) reason.since = now;
            changes.push_back({set, reason, false});
        } else {
            // A clock that was set back does not make a reason begin in the future.
            reason.since = std::min(before->second.since, now);
        }
        next.emplace(reason.condition, reason);
    }
    for (const auto& [condition, reason] : known)
        if (!next.contains(condition)) changes.push_back({set, reason, true});
    known = std::move(next);
    return changes;
}

void Deferrals::forget_restored_but_of_host() {
    std::erase_if(before_, [](const auto& entry) {
        switch (entry.first.second) {
            case Condition::battery:
            case Condition::metered:
            case Condition::offline:
            case Condition::pressure:
            case Condition::power_saver:
                return false;
            case Condition::paused:
            case Condition::inhibited:
            case Condition::guard:
            case Condition::locked:
            case Condition::window:
            case Condition::low_space:
            case Condition::sleep:
            case Condition::restore:
                return true;
        }
        return true;
    });
}

}  // namespace backup
