// Restores that ended with the daemon are gone on with by the next one.
#include <algorithm>
#include <utility>

#include "daemon/ipc/restore_object.h"

namespace backup {

namespace {

// After the start, when whoever boots the machine mounts what it has.
constexpr Duration kGoOnAfter = std::chrono::minutes(1);
constexpr Duration kGoOnAfterInTests = std::chrono::milliseconds(500);
// While storage or target are not there.
constexpr Duration kTryAgain = std::chrono::minutes(5);
constexpr Duration kTryAgainInTests = std::chrono::seconds(1);
// What was cut off earlier is a person's to decide about.
constexpr Duration kGoOnWithin = std::chrono::hours(24);
constexpr std::size_t kMostLookedThrough = 200;  // jobs
// A restore that brings the daemon down each time is left alone.
constexpr unsigned kMostInARow = 3;

// The same request, whoever made it.
bool is_same_request(const UndoRecord& a, const UndoRecord& b) {
    return a.undoes == b.undoes && a.set == b.set && a.target == b.target && a.paths == b.paths &&
           a.full_paths == b.full_paths;
}

// Interrupted, the newest of its kind, and not too often in a row.
std::vector<RestoreObject::Interrupted> find_interrupted(StateStore& store,
                                                         const std::string& folder, Timestamp now) {
    std::vector<RestoreObject::Interrupted> found;
    auto jobs = store.jobs(kMostLookedThrough);
    if (!jobs.ok()) return found;
    std::vector<UndoRecord> newer;
    for (const JobRecord& job : *jobs) {  // newest first
        if (job.kind != "restore" || job.mode == "dry-run") continue;
        auto record = read_undo(folder, job.id);
        if (!record.ok()) continue;  // it had not begun
        const bool is_superseded = std::ranges::any_of(newer, [&](const UndoRecord& other) {
            return other.resumes == job.id || other.undoes == job.id ||
                   is_same_request(other, *record);
        });
        unsigned in_a_row = 0;
        for (std::uint64_t before = record->resumes; before != 0 && in_a_row < kMostInARow;
             ++in_a_row) {
            auto earlier = read_undo(folder, before);
            before = earlier.ok() ? earlier->resumes : 0;
        }
        const bool is_ours = job.outcome == "interrupted" && job.begin <= now &&
                             now - job.begin <= kGoOnWithin && in_a_row < kMostInARow;
        if (is_ours && !is_superseded)
            found.push_back({job.id, job.uid, record->undoes, record->verify});
        newer.push_back(std::move(*record));
    }
    std::ranges::reverse(found);
    return found;
}

// It may be there later: a disk that is not plugged in, a password that is not known yet.
bool may_go_away(const Error& error) {
    return error.kind() == ErrorKind::transient || error.kind() == ErrorKind::conflict ||
           error.code() == ErrorCode::repository_unavailable ||
           error.code() == ErrorCode::repository_missing ||
           error.code() == ErrorCode::wrong_password || error.code() == ErrorCode::no_such_path;
}

}  // namespace

void RestoreObject::begin() {
    look_for_interrupted([this](std::vector<Interrupted> found) {
        if (found.empty()) return;
        interrupted_ = std::move(found);
        going_on_.start(served_.service.clock().jumps_unseen() ? kGoOnAfterInTests : kGoOnAfter);
    });
}

void RestoreObject::look_for_interrupted(std::function<void(std::vector<Interrupted>)> done) {
    Service& service = served_.service;
    service.io().run([&store = service.store(), folder = service.undo_folder(),
                      now = service.clock().now()] { return find_interrupted(store, folder, now); },
                     [alive = std::weak_ptr<int>(alive_),
                      done = std::move(done)](std::vector<Interrupted> found) {
                         if (!alive.expired()) done(std::move(found));
                     });
}

void RestoreObject::go_on() {
    look_for_interrupted([this](std::vector<Interrupted> found) {
        // Whoever went on with one by hand was first.
        std::erase_if(interrupted_, [&](const Interrupted& one) {
            return std::ranges::find(found, one.job, &Interrupted::job) == found.end();
        });
        for (const Interrupted& one : std::vector(interrupted_)) go_on_with(one);
    });
}

void RestoreObject::go_on_with(const Interrupted& one) {
    const auto started = [this, id = one.job,
                          alive = std::weak_ptr<int>(alive_)](Result<const Job*> job) {
        if (!alive.expired()) gone_on_with(id, std::move(job));
    };
    if (one.undoes == 0)
        resume_job(one.job, std::nullopt, started);
    else
        undo_job(one.undoes, false, one.verify, one.uid, started);
}

void RestoreObject::gone_on_with(std::uint64_t id, Result<const Job*> job) {
    Service& service = served_.service;
    const std::string name = "restore job " + std::to_string(id);
    const auto known = std::ranges::find(interrupted_, id, &Interrupted::job);
    if (known == interrupted_.end()) return;
    if (!job.ok() && may_go_away(job.error())) {
        if (!std::exchange(known->is_told, true))
            service.events().add(LogLevel::warning,
                                 "cannot go on with " + name + " yet: " + job.error().message());
        going_on_.start(service.clock().jumps_unseen() ? kTryAgainInTests : kTryAgain);
        return;
    }
    interrupted_.erase(known);
    if (job.ok())
        service.events().add(LogLevel::info, "job " + std::to_string((*job)->id()) +
                                                 " goes on with " + name + ", which was cut off");
    else
        service.events().add(LogLevel::warning,
                             "cannot go on with " + name + ": " + job.error().message());
}

}  // namespace backup
