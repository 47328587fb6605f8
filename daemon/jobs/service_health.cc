// How well all is, and who is told when that changes.
#include <algorithm>

#include "daemon/guard/guard.h"
#include "daemon/jobs/service.h"
#include "daemon/repository/identity.h"
#include "daemon/runtime/command.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

// What is over sooner is not told: a repository that is opened, a run that begins.
constexpr Duration kSettles = std::chrono::seconds(5);
constexpr Duration kSettlesInTests = std::chrono::milliseconds(300);
// After a start or a sleep sets get this long before their age counts: their runs come first.
constexpr Duration kGraceAwake = std::chrono::minutes(10);
constexpr Duration kCommandTimeout = std::chrono::minutes(1);
constexpr std::size_t kMostHealthFile = 64;

std::string all_of(const HealthReport& report) {
    std::string text;
    for (const HealthFinding& finding : report.findings)
        text += std::string(to_string(finding.level)) + ": " + finding.subject + ": " +
                finding.reason + "\n    " + finding.remedy + "\n";
    return text;
}

Health health_from(std::string_view word) {
    for (Health health : {Health::ok, Health::degraded, Health::at_risk})
        if (word == to_string(health)) return health;
    return Health::unknown;
}

}  // namespace

HealthReport Service::health_report() const {
    const Timestamp now = clock_.now();
    SetStatuses sets = sets_;
    for (const auto& [id, set] : policy_->sets) {
        SetStatus& status = sets[id];
        status.is_asked = guards_.of(id).is_open();
        Timestamp success = status.record.last_success;
        if (tracker_ != nullptr) {
            const TrackingStatus tracking = tracker_->status(id);
            if (tracking.state == TrackingState::live && tracking.gaps == 0)
                status.proved = tracking.protected_until;
            success = std::max(success, status.proved.value_or(success));
        }
        status.deadline = success_deadline(set, windows_of(set), success);
        status.is_excused = now < awake_since_ + kGraceAwake;
        if (escalated_.contains(id)) status.deferred_since = decide_for(set, now).deferred_since;
    }
    return judge_health(*policy_, sets, repositories_, problems_.empty(), now);
}

Health Service::health() const {
    return health_report().health;
}

void Service::load_health() {
    auto word = read_small_file(options_.state_dir + "/health", kMostHealthFile);
    if (word.ok()) told_health_ = health_from(*word);
}

// A change is told once, when it has lasted, also over a restart.
void Service::watch_health(Timestamp& wake) {
    const HealthReport report = health_report();
    if (report.health == told_health_) return new_health_.reset();
    const MonotonicTime now = clock_.monotonic();
    if (!new_health_ || new_health_->first != report.health) new_health_ = {report.health, now};
    const Duration settles = clock_.jumps_unseen() ? kSettlesInTests : kSettles;
    if (now < new_health_->second + settles) {
        wake = std::min(wake, clock_.now() + settles);
        return;
    }
    new_health_.reset();
    tell_health(report);
}

void Service::tell_health(const HealthReport& report) {
    const Health before = std::exchange(told_health_, report.health);
    const std::string word = to_string(report.health);
    std::string reason, remedy;
    if (!report.findings.empty()) {
        reason = report.findings[0].subject + ": " + report.findings[0].reason;
        remedy = report.findings[0].remedy;
    }
    events_.add(report.health > before ? LogLevel::warning : LogLevel::notice,
                "health is " + word + ", was " + to_string(before) +
                    (reason.empty() ? "" : ": " + reason + " (" + remedy + ")"));
    if (listener_ != nullptr) {
        listener_->any_changed();
        listener_->health_changed(word, to_string(before), reason);
    }
    journal_.run([file = options_.state_dir + "/health",
                  word] { return write_file_durably(file, word, 0600); },
                 [this](Result<> kept) {
                     if (!kept.ok())
                         events_.add(
                             LogLevel::warning,
                             "cannot remember what was told of health: " + kept.error().message());
                 });
    if (policy_->health_command.empty()) return;
    CommandRequest command;
    command.argv = policy_->health_command;
    command.environment = {{"BACKUPD_HEALTH", word},
                           {"BACKUPD_HEALTH_BEFORE", to_string(before)},
                           {"BACKUPD_REASON", reason},
                           {"BACKUPD_REMEDY", remedy},
                           {"BACKUPD_HOST", own_identity().hostname}};
    command.input = all_of(report);
    command.timeout = kCommandTimeout;
    commands_.run([command = std::move(command)] { return run_command(command); },
                  [this](Result<CommandResult> ran) {
                      if (ran.ok() && ran->succeeded()) return;
                      events_.add(LogLevel::error,
                                  "the command that is to be told of health " +
                                      (ran.ok() ? ran->sentence()
                                                : "cannot be run: " + ran.error().message()));
                  });
}

}  // namespace backup
