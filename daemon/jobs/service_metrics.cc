// The numbers that are given out: asked for, and as a file for node_exporter.
#include "backupd_config.h"
#include "daemon/jobs/service.h"
#include "daemon/runtime/durable_file.h"
#include "daemon/runtime/fence.h"

namespace backup {

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
            if (tracking.pending != 0 && tracking.last_change)
                one.protected_until = tracking.protected_until;
            if (tracking.last_change) one.oldest_change = tracking.oldest;
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
                  [this, file = policy_->metrics_file](Result<> written) {
                      if (written.ok()) return;
                      metrics_written_.clear();
                      const Error why = explain_fence(std::move(written).error(),
                                                      file.substr(0, file.rfind('/')));
                      events_.add(LogLevel::warning, "cannot write the metrics: " + why.message());
                  });
}

}  // namespace backup
