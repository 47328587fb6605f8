#include "daemon/jobs/health.h"

#include <algorithm>
#include <functional>
#include <set>

#include "daemon/jobs/set_limits.h"
#include "daemon/schedule/reason.h"

namespace backup {

namespace {

template <typename Map>
typename Map::mapped_type look_up(const Map& map, const std::string& key) {
    auto found = map.find(key);
    return found == map.end() ? typename Map::mapped_type{} : found->second;
}

constexpr Duration kRetryCollection = std::chrono::hours(1);
constexpr Duration kRetryVerification = std::chrono::hours(6);
constexpr Duration kRetryDrill = std::chrono::hours(6);
// Before the first drill of a set, and after one that failed: sooner than the period says.
constexpr Duration kEarlyDrill = std::chrono::hours(24);
// So many times the age that a set promises, and it is no delay any more.
constexpr int kFarTooLate = 3;

class Judge {
  public:
    Judge(const Policy& policy, const RepositoryStatuses& repositories, Timestamp now)
        : policy_(policy), repositories_(repositories), now_(now) {}

    void look_at_set(const BackupSet& set, const SetStatus& status) {
        const std::string subject = "set " + set.id;
        const SetRecord& record = status.record;
        if (status.is_asked)
            add(Health::at_risk, "asked", subject, "a question about it waits for an answer",
                "`backupctl status " + set.id + "`, then `backupctl approve " + set.id +
                    "` or `backupctl reject " + set.id + "`");
        if (record.last_success == Timestamp{})
            add(Health::at_risk, "never", subject, "it was never backed up",
                "`backupctl run " + set.id + " --wait` says why");
        else
            look_at_age(set, status);
        if (status.deferred_since)
            add(Health::degraded, "deferred", subject,
                "a run waits for too long, since " + to_second(*status.deferred_since),
                "`backupctl status " + set.id + "` says for what; `backupctl run " + set.id +
                    " --ignore all` does not wait");
        for (const LimitNow& limit : limits_over(set, record, status.revision_count, now_))
            if (limit.is_hard) add(Health::degraded, "limit", subject, limit.text, limit.remedy);
        look_at_drills(set, status);
        if (record.unexplained != 0)
            add(Health::degraded, "unexplained", subject,
                "its last full run found " + std::to_string(record.unexplained) +
                    " differences that no change explains",
                "`backupctl jobs` names the run, its log lists them; another full run without any "
                "ends this");
    }

    void look_at_repository(const std::string& name) {
        const std::string subject = "repository " + name;
        const RepositoryFacts facts = look_up(repositories_, name);
        const RepositoryPolicy policy = look_up(policy_.repositories, name);
        if (facts.status.state == RepositoryState::damaged ||
            facts.record.last_check_result == "errors")
            add(Health::at_risk, "damaged", subject, "it is damaged",
                "`backupctl verify` says how; the last good revisions can be restored");
        if (facts.status.state == RepositoryState::locked)
            add(Health::degraded, "locked", subject, "its password is not known here",
                "`backupctl repo unlock " + name + "`");
        if (is_collection_late(policy, facts.record, now_))
            add(Health::degraded, "collection-late", subject,
                "its garbage was not collected for long", "`backupctl gc " + name + "` says why");
        if (is_verification_late(policy, facts.record, now_))
            add(Health::degraded, "verification-late", subject, "it was not verified for long",
                "`backupctl verify`");
    }

    void look_at_configuration(bool is_good) {
        if (!is_good)
            add(Health::degraded, "configuration", "configuration",
                "it has errors: the old one stays in force", "`backupctl config check`");
    }

    HealthReport report(bool any) {
        std::ranges::stable_sort(findings_, std::greater<>(), &HealthFinding::level);
        if (!any) return {Health::unknown, {}};
        return {findings_.empty() ? Health::ok : findings_.front().level, std::move(findings_)};
    }

  private:
    void look_at_drills(const BackupSet& set, const SetStatus& status) {
        const SetRecord& record = status.record;
        if (record.drill_result == "failed")
            add(Health::at_risk, "drill-failed", "set " + set.id,
                "not all that its last drill gave back for a try is as it was",
                "`backupctl jobs " + std::to_string(record.drill_job) +
                    " -v` names the files and older versions that are intact; `backupctl run " +
                    set.id + "`, then `backupctl drill " + set.id + "` tells whether it is mended");
        else if (!status.is_excused && is_drill_late(set, record, now_))
            add(Health::degraded, "drill-late", "set " + set.id,
                "no drill came to its end for long", "`backupctl drill " + set.id + "` says why");
    }

    void look_at_age(const BackupSet& set, const SetStatus& status) {
        if (!status.deadline || status.is_excused) return;
        const Timestamp success = std::max(status.record.last_success,
                                           status.proved.value_or(status.record.last_success));
        if (now_ <= *status.deadline) return;
        const bool is_far = now_ - success > kFarTooLate * (*status.deadline - success);
        add(is_far ? Health::at_risk : Health::degraded, "late", "set " + set.id,
            "it was last known to be protected at " + to_second(success),
            "`backupctl status " + set.id +
                "` says what it waits for, `backupctl jobs` how its "
                "last run ended");
    }

    void add(Health level, const char* code, const std::string& subject, std::string reason,
             std::string remedy) {
        findings_.push_back({level, code, subject, std::move(reason), std::move(remedy)});
    }

    const Policy& policy_;
    const RepositoryStatuses& repositories_;
    const Timestamp now_;
    std::vector<HealthFinding> findings_;
};

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

HealthReport judge_health(const Policy& policy, const SetStatuses& sets,
                          const RepositoryStatuses& repositories, bool config_is_good,
                          Timestamp now) {
    Judge judge(policy, repositories, now);
    std::set<std::string> used;
    for (const auto& [id, set] : policy.sets) {
        if (!set.enabled) continue;
        used.insert(set.repository);
        judge.look_at_set(set, look_up(sets, id));
    }
    for (const std::string& name : used) judge.look_at_repository(name);
    judge.look_at_configuration(config_is_good);
    return judge.report(!used.empty());
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

std::optional<Timestamp> next_verification(const RepositoryPolicy& policy,
                                           const RepositoryRecord& record, Timestamp tried,
                                           Timestamp now) {
    if (policy.verify_seconds == 0) return std::nullopt;
    const Duration period = std::chrono::seconds(policy.verify_seconds);
    // The first period begins when the repository is first seen, as that of collections does.
    const Timestamp last =
        record.last_check != Timestamp{} ? record.last_check : record.last_collect;
    if (last == Timestamp{}) return std::nullopt;
    const Timestamp due = last > now ? now : last + period;
    if (tried == Timestamp{} || tried > now) return due;
    return std::max(due, tried + std::min<Duration>(period, kRetryVerification));
}

bool is_verification_late(const RepositoryPolicy& policy, const RepositoryRecord& record,
                          Timestamp now) {
    if (policy.verify_seconds == 0 || record.last_check == Timestamp{}) return false;
    return now - record.last_check >
           2 * std::chrono::seconds(policy.verify_seconds) + kRetryVerification;
}

std::optional<Timestamp> next_drill(const BackupSet& set, const SetRecord& record, Timestamp tried,
                                    Timestamp now) {
    if (set.drill.every_seconds == 0 || !set.enabled || set.is_found) return std::nullopt;
    const Duration period = std::chrono::seconds(set.drill.every_seconds);
    const bool is_early = record.last_drill == Timestamp{} || record.drill_result == "failed";
    const Timestamp last =
        record.last_drill != Timestamp{} ? record.last_drill : record.drills_since;
    if (last == Timestamp{}) return std::nullopt;  // there is nothing to try
    const Timestamp due =
        last > now ? now : last + (is_early ? std::min<Duration>(period, kEarlyDrill) : period);
    if (tried == Timestamp{} || tried > now) return due;
    return std::max(due, tried + std::min<Duration>(period, kRetryDrill));
}

bool is_drill_late(const BackupSet& set, const SetRecord& record, Timestamp now) {
    if (set.drill.every_seconds == 0 || set.is_found) return false;
    const Timestamp last =
        record.last_drill != Timestamp{} ? record.last_drill : record.drills_since;
    if (last == Timestamp{}) return false;
    return now - last > 2 * std::chrono::seconds(set.drill.every_seconds) + kRetryDrill;
}

bool needs_reminder(const RepositoryFacts& repository) {
    return repository.record.password_generated && !repository.record.sheet_tested &&
           repository.status.keys <= 1;
}

}  // namespace backup
