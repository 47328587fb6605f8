#include "daemon/schedule/run_times.h"

#include <algorithm>
#include <array>
#include <fstream>

#include <unistd.h>

#include "daemon/schedule/calendar.h"

namespace backup {

namespace {

// Changes that never come to rest are taken after this long, or after the settle time if that is
// longer.
constexpr Duration kLongestSettle = std::chrono::seconds(60);
// A set that is held is looked at again at least this often.
constexpr Duration kLookForSource = std::chrono::hours(1);
constexpr Duration kRetryReconcile = std::chrono::hours(6);
// Missed by less than this, a run is simply late.
constexpr Duration kMissed = std::chrono::minutes(1);

bool runs_by_itself(const BackupSet& set) {
    return set.enabled && (set.automatic || set.interval_seconds != 0);
}

}  // namespace

std::optional<Timestamp> interval_due(const BackupSet& set, const SetPast& past, Timestamp now) {
    if (!set.enabled || set.interval_seconds == 0) return std::nullopt;
    if (past.last_attempt == Timestamp{}) return now;
    // Better too early than never.
    if (past.last_attempt > now) return now;
    return past.last_attempt + std::chrono::seconds(set.interval_seconds);
}

std::optional<Timestamp> change_due(const BackupSet& set, const RunFacts& facts, Timestamp now) {
    if (!set.enabled || !set.automatic) return std::nullopt;
    const Timestamp last = facts.past.last_attempt;
    if (facts.looks_for_source) return last > now ? now : last + kLookForSource;
    if (!facts.changes) return std::nullopt;
    const Duration settle = std::chrono::milliseconds(set.settle_ms);
    Timestamp due = std::min(facts.changes->latest + settle,
                             facts.changes->oldest + std::max(settle, kLongestSettle));
    if (last <= now) due = std::max(due, last + std::chrono::seconds(set.min_interval_seconds));
    return due;
}

std::optional<Timestamp> reconcile_due(const BackupSet& set, const SetPast& past,
                                       std::string_view machine, Timestamp now) {
    if (!runs_by_itself(set) || set.reconcile_seconds == 0) return std::nullopt;
    // Before the first revision there is nothing to compare with.
    if (past.last_full == Timestamp{}) return std::nullopt;
    const Duration period = std::chrono::seconds(set.reconcile_seconds);
    const Duration spread = period / 10;
    const Timestamp due =
        std::min(past.last_full, now) + period - spread + start_jitter(machine, set.id, spread);
    if (past.full_tried == Timestamp{} || past.full_tried > now) return due;
    return std::max(due, past.full_tried + std::min<Duration>(kRetryReconcile, period));
}

std::optional<Due> next_due(const BackupSet& set, const RunFacts& facts, std::string_view machine,
                            Timestamp now) {
    std::optional<Due> next;
    const auto consider = [&next](std::optional<Timestamp> at, Due due) {
        if (!at || (next && next->at <= *at)) return;
        due.at = *at;
        next = std::move(due);
    };
    if (set.enabled) {
        const auto interval = interval_due(set, facts.past, now);
        const bool was_missed = interval && facts.past.last_attempt != Timestamp{} &&
                                *interval + kMissed < facts.awake_since && facts.awake_since <= now;
        consider(interval, {.trigger = was_missed ? "catchup" : "schedule"});
        consider(change_due(set, facts, now), {.trigger = "change"});
        if (facts.was_parked || runs_by_itself(set))
            consider(facts.resume_at, {.trigger = "resume", .is_continued = facts.was_parked});
        const auto full = reconcile_due(set, facts.past, machine, now);
        consider(full, {.trigger = "schedule"});
        if (next && full && *full <= now) next->is_full = true;
        // Whatever else is due by now, it takes up what was begun.
        if (next && facts.was_parked && facts.resume_at && *facts.resume_at <= now) {
            next->trigger = "resume";
            next->is_continued = true;
        }
    }
    if (facts.asked) {
        // It is not put off by what is due as well, and that is done with it.
        const bool is_full = facts.asked->is_full || (next && next->is_full);
        const Timestamp at = next ? std::min(next->at, facts.asked->since) : facts.asked->since;
        next = Due{at, "user", is_full, next && next->is_continued, facts.asked->uid};
    }
    return next;
}

std::string machine_id() {
    std::ifstream file("/etc/machine-id");
    std::string id;
    if (file >> id && !id.empty()) return id;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) < 0) return "localhost";
    return name.data();
}

}  // namespace backup
