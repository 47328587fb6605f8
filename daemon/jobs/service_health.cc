// How well all is, and who is told when that changes.
#include <algorithm>

#include "backupd_config.h"
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

std::string Service::metrics_text() const {
    Numbers numbers;
    numbers.now = clock_.now();
    numbers.version = BACKUPD_VERSION;
    numbers.health = health();
    numbers.is_paused = pause_now().has_value();
    numbers.config_is_good = problems_.empty();
    numbers.bytes_up = rates_->passed(Rates::Way::up);
    numbers.bytes_down = rates_->passed(Rates::Way::down);
    for (const auto& [id, set] : policy_->sets) {
        const SetStatus status = set_status(id);
        SetNumbers one{.id = id, .record = status.record, .revisions = status.revision_count};
        if (tracker_ != nullptr) {
            const TrackingStatus tracking = tracker_->status(id);
            one.pending = tracking.pending;
            one.pending_bytes = tracking.pending_bytes;
            one.gaps = tracking.gaps;
            one.is_live = tracking.state == TrackingState::live;
            // While nothing waits it is always now: as good as the last backup, and steady.
            if (tracking.pending != 0) one.protected_until = tracking.protected_until;
        }
        one.is_running = runner_.active_backup(id) != nullptr;
        one.waits = waiting_reasons(set);
        one.deferred_since = verdict(set).deferred_since;
        numbers.sets.push_back(std::move(one));
    }
    for (const auto& [name, repository] : policy_->repositories)
        numbers.repositories.push_back({name, repository_facts(name)});
    return metrics_.text(numbers);
}

void Service::write_metrics() {
    constexpr Duration kEvery = std::chrono::minutes(1);
    if (policy_->metrics_file.empty()) return metrics_timer_.stop();
    metrics_timer_.start(kEvery);
    std::string text = metrics_text();
    if (text == metrics_written_) return;
    metrics_written_ = text;
    commands_.run([file = policy_->metrics_file,
                   text = std::move(text)] { return write_file_durably(file, text, 0644); },
                  [this](Result<> written) {
                      if (written.ok()) return;
                      metrics_written_.clear();
                      events_.add(LogLevel::warning,
                                  "cannot write the metrics: " + written.error().message());
                  });
}

}  // namespace backup
