#include "daemon/jobs/health.h"

#include <algorithm>

namespace backup {

namespace {

template <typename Map>
typename Map::mapped_type look_up(const Map& map, const std::string& key) {
    auto found = map.find(key);
    return found == map.end() ? typename Map::mapped_type{} : found->second;
}

Health judge_set(const BackupSet& set, const SetRecord& record, const RepositoryFacts& repository,
                 Timestamp now) {
    if (record.last_success == Timestamp{}) return Health::at_risk;
    if (repository.status.state == RepositoryState::damaged ||
        repository.record.last_check_result == "errors")
        return Health::at_risk;
    if (now - record.last_success > promised_age(set)) return Health::degraded;
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
        worst = std::max(worst, judge_set(set, look_up(sets, id).record,
                                          look_up(repositories, set.repository), now));
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

bool needs_reminder(const RepositoryFacts& repository) {
    return repository.record.password_generated && !repository.record.sheet_tested &&
           repository.status.keys <= 1;
}

}  // namespace backup
