#include "daemon/jobs/lifecycle.h"

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <set>
#include <thread>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/collection/collector.h"
#include "daemon/jobs/checkpoints.h"
#include "daemon/jobs/undo_book.h"

namespace backup {

namespace {

std::string name_of(const Revision& revision) {
    return revision.tags.set + "/" + std::to_string(revision.tags.number);
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

Result<std::vector<RevisionId>> named_revisions(const std::vector<Revision>& revisions,
                                                const ForgetTask& task) {
    const SetOnHost on_host = line_of(task.set);
    std::vector<RevisionId> ids;
    for (const std::string& text : task.revisions) {
        Revision revision = TRY(resolve_revision(revisions, on_host, text));
        if (!belongs_to(revision, on_host))
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "revision " + revision.id().short_hex() + " is not one of set '" +
                             task.set.id + "' on this machine: it is left alone");
        if (revision.tags.is_pinned)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         name_of(revision) + " is pinned: `backupctl unpin " + name_of(revision) +
                             "` first; nothing was forgotten");
        ids.push_back(revision.id());
    }
    return ids;
}

// Forgets what no rule keeps, and says of each revision why it stays or goes. Counts the forgotten.
Result<std::uint64_t> apply_rules(OpenRepository& opened, const RepositoryPolicy& policy,
                                  const BackupSet& set, const std::string& frozen, Tracker* tracker,
                                  Timestamp now, JobContext& job, JobOutcome& outcome,
                                  std::uint64_t& kept) {
    const auto revisions = all_revisions(TRY(opened.repository->list_revisions()));
    ReviseTask revise{.set = set,
                      .revisions = {},
                      .change = {},
                      .deleting = deleting_of(opened, policy),
                      .tracker = tracker};
    revise.change.trash = std::optional(now);
    for (const RetentionDecision& decision : plan_retention(revisions, set, now, frozen)) {
        const std::string name = set.id + "/" + std::to_string(decision.item.number);
        outcome.findings.push_back(
            {now, "finding", "info", name, "",
             decision.keep ? "kept: " + joined(decision.rules) : "forgotten: no rule keeps it"});
        if (decision.keep)
            ++kept;
        else
            revise.revisions.push_back(decision.item.id);
    }
    if (!revise.revisions.empty()) TRY(revise_revisions(*opened.repository, revise, job.stop));
    return std::uint64_t{revise.revisions.size()};
}

// What restores of this machine replaced goes after its time, whatever the rules of a set are.
Result<> expire_pre_restore(OpenRepository& opened, const CollectTask& task,
                            const RepositoryPolicy& policy, Timestamp now, JobContext& job) {
    ReviseTask revise{.set = {},
                      .revisions = {},
                      .change = {},
                      .deleting = deleting_of(opened, policy),
                      .tracker = nullptr};
    revise.change.trash = std::optional(now);
    std::set<std::string> hosts = {host_of(BackupSet{})};
    for (const auto& [id, set] : task.policy->sets) hosts.insert(host_of(set));
    for (const Revision& revision : all_revisions(TRY(opened.repository->list_revisions())))
        if (is_pre_restore(revision) && !revision.is_trashed() && !revision.tags.is_pinned &&
            hosts.contains(revision.snapshot().hostname) &&
            revision.snapshot().time + kUndoKept < now)
            revise.revisions.push_back(revision.id());
    if (!revise.revisions.empty()) TRY(revise_revisions(*opened.repository, revise, job.stop));
    return {};
}

// Why it is not certain that the source of a set is there. Just after the start nobody has looked
// yet: that is waited for.
std::string doubt_of_source(const Tracker& tracker, const std::string& set,
                            const std::stop_token& stop) {
    constexpr int kMostLooks = 100;
    constexpr auto kBetweenLooks = std::chrono::milliseconds(100);
    for (int look = 0; look < kMostLooks && !stop.stop_requested(); ++look) {
        const TrackingStatus status = tracker.status(set);
        for (const VolumeStatus& volume : status.volumes)
            if (volume.state == "away") return "the file system at " + volume.place + " is missing";
        if (!status.volumes.empty()) return {};
        std::this_thread::sleep_for(kBetweenLooks);
    }
    return "no file system of its source is known to be there";
}

// Sets of this machine have made revisions there, and no collection of ours has removed the last
// one: that none is listed would be a lie, or a folder that is not mounted.
Result<bool> expects_revisions(StateStore& store, const Policy& policy,
                               const std::string& repository) {
    if (TRY(store.repository_record(repository)).emptied) return false;
    for (const auto& [id, set] : policy.sets)
        if (set.repository == repository && TRY(store.set_record(id)).last_number != 0) return true;
    return false;
}

Result<> note_emptied(StateStore& store, const std::string& repository, bool emptied) {
    RepositoryRecord record = TRY(store.repository_record(repository));
    if (record.emptied == emptied) return {};
    record.emptied = emptied;
    return store.put_repository_record(repository, record);
}

std::string in_bytes(std::uint64_t bytes) {
    return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

void put_counts(const CollectResult& result, JobOutcome& outcome) {
    for (auto [name, count] : std::initializer_list<std::pair<const char*, std::uint64_t>>{
             {"revisions-removed", result.revisions_removed},
             {"packs-marked", result.packs_marked},
             {"bytes-marked", result.bytes_marked},
             {"packs-recovered", result.packs_recovered},
             {"packs-copied", result.packs_copied},
             {"bytes-copied", result.bytes_copied},
             {"packs-removed", result.packs_removed},
             {"bytes-removed", result.bytes_removed},
             {"packs-waiting", result.packs_waiting}})
        outcome.counts.emplace_back(name, count);
}

void put_counts(const StorageAudit& audit, JobOutcome& outcome) {
    for (auto [name, count] : std::initializer_list<std::pair<const char*, std::uint64_t>>{
             {"listed-bytes", audit.listed_bytes},
             {"live-bytes", audit.live_bytes},
             {"grace-bytes", audit.grace_bytes},
             {"orphan-bytes", audit.orphan_bytes},
             {"waste-bytes", audit.waste_bytes},
             {"packs", audit.packs},
             {"missing-packs", audit.missing_packs}})
        outcome.counts.emplace_back(name, count);
}

Error lets_nothing_be_removed(const std::string& repository, const std::string& why) {
    return Error(
        ErrorKind::denied, ErrorCode::policy_denied,
        "repository '" + repository + "' " + why +
            ": garbage must be collected by a machine that may remove there (backups go on "
            "without)");
}

Result<JobOutcome> run_collect(RepositoryPool& pool, const Clock& clock, const CollectTask& task,
                               JobContext& job) {
    const RepositoryPolicy& policy = task.policy->repositories.at(task.repository);
    RepositoryHandle opened = TRY(pool.open(task.repository));
    DeletingBackend* deleting = opened->storage.deleting;
    if (policy.append_only)
        return lets_nothing_be_removed(policy.name, "is append-only by its configuration");
    if (deleting == nullptr)
        return lets_nothing_be_removed(policy.name, "is on a storage that removes nothing");
    JobOutcome outcome;
    CollectRequest request;
    std::uint64_t forgotten = 0, kept = 0;
    for (const auto& [id, set] : task.policy->sets) {
        if (set.repository != task.repository) continue;
        const std::string frozen = frozen_now(set, *task.guards, task.tracker, job.stop);
        if (task.apply_rules && set.keep.any())
            forgotten += TRY_DURING(apply_rules(*opened, policy, set, frozen, task.tracker,
                                                clock.now(), job, outcome, kept),
                                    "rules of set '" + id + "'");
        // What a guard moved to the trash, or may have to take back, stays there meanwhile.
        if (!frozen.empty() && !task.empty_trash) continue;
        if (task.sets.empty() || std::ranges::find(task.sets, id) != task.sets.end()) {
            request.own_sets.insert({id, host_of(set)});
            for (const auto& [host, name] : line_of(set).adopted)
                request.own_sets.insert({name, host});
        }
    }
    if (task.apply_rules && !task.dry_run)
        TRY_DURING(expire_pre_restore(*opened, task, policy, clock.now(), job),
                   "what restores replaced 30 days ago");
    using std::chrono::seconds;
    request.limits.grace = seconds(policy.grace_seconds);
    if (failpoint("collection.no-grace")) request.limits.grace = seconds(0);
    request.limits.waste_percent = policy.waste_percent;
    request.limits.small_pack_bytes = task.policy->pack_bytes / 4;
    request.trash = seconds(task.empty_trash ? 0 : policy.trash_seconds);
    request.bytes_per_second = policy.collect_rate;
    request.dry_run = task.dry_run;
    if (task.store != nullptr) {
        request.expects_revisions =
            TRY(expects_revisions(*task.store, *task.policy, task.repository));
        request.emptying = [&] { return note_emptied(*task.store, task.repository, true); };
        request.kept = [&,
                        id = opened->repository->config().id]() -> Result<std::vector<KeptData>> {
            if (!task.dry_run) TRY(drop_expired_checkpoints(*task.store, id, clock.now()));
            return kept_by_checkpoints(*task.store, id, clock.now());
        };
    }
    request.write.pack_bytes = task.policy->pack_bytes;
    request.write.compression_level = task.policy->compression_level;
    Result<CollectResult> collected = collect(
        *opened->repository, *deleting, request, job.progress,
        [&](const std::string& text) { job.message(LogLevel::info, text); }, job.stop);
    if (!collected.ok()) {
        if (collected.error().kind() == ErrorKind::denied &&
            collected.error().code() == ErrorCode::none)
            return lets_nothing_be_removed(
                policy.name, "lets nothing be removed (" + collected.error().message() + ")");
        return std::move(collected).error();
    }
    if (task.store != nullptr && !task.dry_run && collected->revisions_left != 0)
        TRY(note_emptied(*task.store, task.repository, false));
    put_counts(*collected, outcome);
    if (task.apply_rules) outcome.counts.emplace_back("forgotten", forgotten);
    if (!task.dry_run) {
        pool.set_used_bytes(policy.name, collected->before.listed_bytes + collected->bytes_copied -
                                             collected->bytes_removed);
        job.message(LogLevel::info, "marked " + in_bytes(collected->bytes_marked) + ", removed " +
                                        in_bytes(collected->bytes_removed));
    }
    if (!collected->waits_for.empty())
        job.message(LogLevel::warning, std::to_string(collected->packs_waiting) +
                                           " packs that are due wait for " + collected->waits_for);
    return outcome;
}

Result<JobOutcome> forget(RepositoryPool& pool, const Clock& clock, const ForgetTask& task,
                          JobContext& job) {
    RepositoryHandle opened = TRY(pool.open(task.set.repository));
    Repository& repository = *opened->repository;
    const std::vector<Revision> revisions = all_revisions(TRY(repository.list_revisions()));
    JobOutcome outcome;
    std::uint64_t forgotten = 0, kept = 0;
    if (task.by_policy) {
        forgotten = TRY(apply_rules(*opened, task.repository, task.set,
                                    frozen_now(task.set, *task.guards, task.tracker, job.stop),
                                    task.tracker, clock.now(), job, outcome, kept));
    } else {
        // On its own: a return from within a list of initialisers leaks what was made before it.
        std::vector<RevisionId> named = TRY(named_revisions(revisions, task));
        ReviseTask revise{.set = task.set,
                          .revisions = std::move(named),
                          .change = {},
                          .deleting = deleting_of(*opened, task.repository),
                          .tracker = task.tracker};
        revise.change.trash = std::optional(clock.now());
        TRY(revise_revisions(repository, revise, job.stop));
        forgotten = revise.revisions.size();
    }
    outcome.counts = {{"forgotten", forgotten}, {"kept", kept}};
    job.message(LogLevel::info, "moved " + std::to_string(forgotten) +
                                    (forgotten == 1 ? " revision" : " revisions") + " of set '" +
                                    task.set.id + "' to the trash");
    return outcome;
}

}  // namespace

std::string frozen_now(const BackupSet& set, const GuardBook& guards, const Tracker* tracker,
                       const std::stop_token& stop) {
    const GuardRecord record = guards.of(set.id);
    for (const GuardQuestion* question : record.questions())
        if (question->is_open()) return question->message;
    return tracker == nullptr || !set.enabled ? std::string()
                                              : doubt_of_source(*tracker, set.id, stop);
}

std::vector<RetentionDecision> plan_retention(const std::vector<Revision>& revisions,
                                              const BackupSet& set, Timestamp now,
                                              const std::string& frozen) {
    const SetOnHost on_host = line_of(set);
    std::vector<RetentionItem> items;
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, on_host) || revision.is_trashed()) continue;
        const Snapshot& snapshot = revision.snapshot();
        items.push_back({.id = revision.id(),
                         .number = revision.tags.number,
                         .time = snapshot.time,
                         .time_text = snapshot.time_text,
                         .is_pinned = revision.tags.is_pinned,
                         .exceptions = revision.tags.exceptions,
                         .missing = revision.tags.missing,
                         .tags = revision.tags.others});
    }
    return decide_retention(std::move(items), set.keep, now, frozen);
}

DeletingBackend* deleting_of(const OpenRepository& opened, const RepositoryPolicy& policy) {
    return policy.append_only ? nullptr : opened.storage.deleting;
}

Result<std::vector<RevisedRevision>> revise_revisions(Repository& repository,
                                                      const ReviseTask& task,
                                                      std::stop_token stop) {
    auto revised =
        TRY(revise(repository, task.deleting, task.revisions, task.change, std::move(stop)));
    if (task.tracker != nullptr)
        for (const RevisedRevision& one : revised)
            if (one.before != one.after.id)
                task.tracker->revision_rewritten(task.set.id, one.before, one.after.id);
    return revised;
}

JobBody collect_body(RepositoryPool& pool, const Clock& clock, CollectTask task) {
    return [&pool, &clock, task = std::move(task)](JobContext& job) {
        auto outcome = run_collect(pool, clock, task, job);
        if (outcome.ok()) return std::move(*outcome);
        if (outcome.error().code() == ErrorCode::repository_damaged)
            pool.report_damage(task.repository, outcome.error().message());
        return failed(std::move(outcome).error());
    };
}

void remember_collect(StateStore& store, const JobRecord& record) {
    auto repository = store.repository_record(record.repository);
    if (!repository.ok()) return;
    repository->last_collect_attempt = record.begin;
    repository->last_collect_result = record.outcome;
    if (record.outcome == "complete") repository->last_collect = *record.end;
    if (auto kept = store.put_repository_record(record.repository, *repository); !kept.ok())
        log_warning("cannot remember the end of a collection: " + kept.error().message());
}

JobBody audit_body(RepositoryPool& pool, StateStore& store, const Clock& clock, std::string name) {
    return [&pool, &store, &clock, name = std::move(name)](JobContext& job) {
        auto opened = pool.open(name);
        if (!opened.ok()) return failed(std::move(opened).error());
        Repository& repository = *(*opened)->repository;
        auto kept = kept_by_checkpoints(store, repository.config().id, clock.now());
        if (!kept.ok()) return failed(std::move(kept).error());
        auto result = audit(repository, job.progress, job.stop, *kept);
        if (!result.ok()) return failed(std::move(result).error());
        pool.set_used_bytes(name, result->listed_bytes);
        JobOutcome outcome;
        put_counts(*result, outcome);
        return outcome;
    };
}

JobBody forget_body(RepositoryPool& pool, const Clock& clock, ForgetTask task) {
    return [&pool, &clock, task = std::move(task)](JobContext& job) {
        auto outcome = forget(pool, clock, task, job);
        return outcome.ok() ? std::move(*outcome) : failed(std::move(outcome).error());
    };
}

}  // namespace backup
