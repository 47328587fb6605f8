#include "daemon/jobs/health.h"

#include <algorithm>

namespace backup {

namespace {

template <typename Map>
typename Map::mapped_type look_up(const Map& map, const std::string& key) {
    auto found = map.find(key);
    return found == map.end() ? typename Map::mapped_type{} : found->second;
}

constexpr Duration kRetryCollection = std::chrono::hours(1);

Health judge_set(const BackupSet& set, const SetStatus& status, const RepositoryFacts& repository,
                 bool is_late, Timestamp now) {
    const SetRecord& record = status.record;
    if (status.is_asked) return Health::at_risk;
    if (record.last_success == Timestamp{}) return Health::at_risk;
    if (repository.status.state == RepositoryState::damaged ||
        repository.record.last_check_result == "errors")
        return Health::at_risk;
    if (now - record.last_success > promised_age(set)) return Health::degraded;
    if (is_late || record.unexplained != 0) return Health::degraded;
    if (repository.status.state == RepositoryState::locked) return Health::degraded;
    return Health::ok;
}

}  // namespace

const char* to_string(Health health) {
    switch (health) {
        case Health::ok:
            return "ok";
        case Health::degraded:
            return "degraded";
        case Health::at_risk:
            return "at-risk";
        case Health::unknown:
            return "unknown";
    }
    return "unknown";
}

Duration promised_age(const BackupSet& set) {
    if (set.interval_seconds == 0) return std::chrono::hours(24);
    return 2 * std::chrono::seconds(set.interval_seconds);
}

Health judge_health(const Policy& policy, const SetStatuses& sets,
                    const RepositoryStatuses& repositories, bool config_is_good, Timestamp now) {
    bool any = false;
    Health worst = Health::ok;
    for (const auto& [id, set] : policy.sets) {
        if (!set.enabled) continue;
        any = true;
        const RepositoryFacts facts = look_up(repositories, set.repository);
        const bool is_late =
            is_collection_late(look_up(policy.repositories, set.repository), facts.record, now);
        worst = std::max(worst, judge_set(set, look_up(sets, id), facts, is_late, now));
    }
    if (!any) return Health::unknown;
    if (!config_is_good) worst = std::max(worst, Health::degraded);
    return worst;
}

std::optional<Timestamp> next_run(const BackupSet& set, const SetRecord& record, Timestamp now) {
    if (!set.enabled || set.interval_seconds == 0) return std::nullopt;
    if (record.last_attempt == Timestamp{}) return now;
    // A begin in the future is a clock that was set back: better too early than never.
    if (record.last_attempt > now) return now;
    return record.last_attempt + std::chrono::seconds(set.interval_seconds);
}

std::optional<Timestamp> next_collection(const RepositoryPolicy& policy,
                                         const RepositoryRecord& record, Timestamp now) {
    if (policy.append_only || policy.collect_seconds == 0) return std::nullopt;
    const Duration period = std::chrono::seconds(policy.collect_seconds);
    if (record.last_collect == Timestamp{}) return std::nullopt;  // not seen before
    // What lies in the future was written before the clock was set back and tells nothing: such an
    // end is none, and such an attempt puts nothing off.
    const Timestamp due = record.last_collect > now ? now : record.last_collect + period;
    if (record.last_collect_attempt == Timestamp{} || record.last_collect_attempt > now) return due;
    // One that failed is tried again soon, not at once.
    return std::max(due,
                    record.last_collect_attempt + std::min<Duration>(period, kRetryCollection));
}

bool is_collection_late(const RepositoryPolicy& policy, const RepositoryRecord& record,
                        Timestamp now) {
    if (policy.append_only || policy.collect_seconds == 0 || record.last_collect == Timestamp{})
        return false;
    return now - record.last_collect >
           2 * std::chrono::seconds(policy.collect_seconds) + kRetryCollection;
}

bool needs_reminder(const RepositoryFacts& repository) {
    return repository.record.password_generated && !repository.record.sheet_tested &&
           repository.status.keys <= 1;
}

}  // namespace backup
