// When drills begin, and what is known of them afterwards.
#include <algorithm>

#include "daemon/jobs/drill_task.h"
#include "daemon/jobs/service.h"

namespace backup {

namespace {

// A drill reads the storage and no source: what keeps uploads of a set is mostly nothing to it.
bool holds_a_drill(const Reason& reason) {
    switch (reason.condition) {
        case Condition::window:
        case Condition::guard:
        case Condition::locked:  // the drill itself says so
        case Condition::low_space:
            return false;
        case Condition::paused:
        case Condition::inhibited:
        case Condition::offline:
        case Condition::battery:
        case Condition::metered:
        case Condition::pressure:
        case Condition::power_saver:
        case Condition::sleep:
        case Condition::restore:
            return true;
    }
    return true;
}

}  // namespace

void Service::start_drill(const std::string& id, const DrillOptions& options,
                          const std::string& trigger, std::uint32_t uid,
                          std::function<void(Result<const Job*>)> started) {
    auto set = find_set(id);
    if (!set.ok()) return started(std::move(set).error());
    DrillTask task{.set = **set,
                   .paths = options.paths,
                   .again = {},
                   .folder = drill_folder(),
                   .tracker = tracker_.get(),
                   .pace = rates_->gate(Rates::Way::down, id),
                   .written_apart = options_.writes_apart};
    if (task.paths.empty()) task.again = set_status(id).record.drill_failed;
    if (options.files) task.set.drill.files = *options.files;
    if (options.bytes) task.set.drill.bytes = *options.bytes;
    JobRequest request;
    request.kind = "drill";
    request.set = id;
    request.repository = task.set.repository;
    request.trigger = trigger;
    request.uid = uid;
    if (task.paths.empty() && !options.files && !options.bytes) request.unique = "drill:" + id;
    auto verdict = std::make_shared<DrillVerdict>();
    request.body = drill_body(pool_, clock_, std::move(task), verdict);
    request.remember = [verdict](StateStore& store, const JobRecord& record, std::uint64_t) {
        remember_drill(store, record, *verdict);
    };
    runner_.start(std::move(request), std::move(started));
}

void Service::read_drill_again(const std::string& id) {
    journal_.run([this, id] { return store_.set_record(id); },
                 [this, id](Result<SetRecord> record) {
                     if (!record.ok() || !policy_->sets.contains(id)) return;
                     SetRecord& known = sets_[id].record;
                     known.last_drill = record->last_drill;
                     known.drill_result = record->drill_result;
                     known.drill_job = record->drill_job;
                     known.drill_failed = std::move(record->drill_failed);
                     write_metrics();
                     if (listener_ != nullptr) {
                         listener_->set_changed(id);
                         listener_->any_changed();
                     }
                     tick_later();
                 });
}

// One after the other: nobody waits for them.
void Service::drill_what_is_due(Timestamp now, Timestamp& wake) {
    if (std::ranges::any_of(runner_.jobs(), [](const Job* job) {
            return job->record().kind == "drill" && !job->is_done();
        }))
        return;
    for (const auto& [id, set] : policy_->sets) {
        const auto due = next_drill(set, set_status(id).record, drill_tried_[id], now);
        if (!due) continue;
        if (*due > now) {
            wake = std::min(wake, *due);
            continue;
        }
        if (std::ranges::any_of(holds_of(set, now), holds_a_drill)) continue;
        drill_tried_[id] = now;
        start_drill(id, {}, "schedule", 0, [this, id = id](Result<const Job*> job) {
            if (!job.ok())
                events_.add(LogLevel::error,
                            "cannot start the drill of set '" + id + "': " + job.error().message());
        });
        return;
    }
}

}  // namespace backup
