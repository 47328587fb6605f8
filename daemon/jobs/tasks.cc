#include "daemon/jobs/tasks.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include <sys/stat.h>

#include "common/failpoint.h"
#include "daemon/archive/backup.h"
#include "daemon/jobs/checkpoints.h"
#include "daemon/jobs/full_check.h"
#include "daemon/jobs/guarded_run.h"
#include "daemon/jobs/hooks.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/repository/reserve.h"

namespace backup {

namespace {

using Counts = std::vector<std::pair<std::string, std::uint64_t>>;

Counts counts_of(const BackupCounts& counts) {
    return {
        {"files-new", counts.files_new},
        {"files-changed", counts.files_changed},
        {"files-removed", counts.files_removed},
        {"files-unmodified", counts.files_unmodified},
        {"dirs-new", counts.dirs_new},
        {"dirs-changed", counts.dirs_changed},
        {"dirs-unmodified", counts.dirs_unmodified},
        {"dirs-read", counts.dirs_read},
        {"files-read", counts.files_read},
        {"bytes-read", counts.bytes_read},
        {"files-resumed", counts.files_resumed},
        {"bytes-resumed", counts.bytes_resumed},
        {"blobs-new", counts.blobs_new},
        {"data-blobs-new", counts.data_blobs_new},
        {"tree-blobs-new", counts.tree_blobs_new},
        {"bytes-added", counts.bytes_added},
        {"bytes-stored", counts.bytes_stored},
        {"files", counts.total_files},
        {"bytes", counts.total_bytes},
        {"blobs-read-back", counts.blobs_read_back},
        {"bytes-read-back", counts.bytes_read_back},
    };
}

Counts counts_of(const CheckResult& result) {
    return {
        {"errors", result.errors},
        {"hints", result.hints},
        {"packs", result.packs},
        {"packs-read", result.packs_read},
        {"bytes-read", result.bytes_read},
        {"blobs", result.blobs_checked},
        {"trees", result.trees},
        {"revisions", result.revisions},
        {"orphan-packs", result.orphan_packs},
        {"orphan-bytes", result.orphan_bytes},
    };
}

std::string plural(std::uint64_t count, const std::string& one) {
    return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

// What an interrupted run of the set left, if it is still there.
void resume(const BackupTask& task, const Clock& clock, const std::string& repository_id,
            JobContext& job, BackupRequest& request, CheckpointKeeper& keeper) {
    if (task.full) return;
    auto record = find_checkpoint(*task.store, task.set, repository_id, clock.now());
    if (!record) return;
    request.resumed = checkpoint_of(*record);
    if (!request.resumed) return;
    keeper.resumes(record->bytes);
    job.message(LogLevel::info, "takes up job " + std::to_string(record->job) +
                                    ", which was interrupted with " +
                                    plural(record->files, "file") + " and " +
                                    plural(record->bytes, "byte") + " stored");
}

// A run that read everything must find what an incremental one would have found. What nothing
// explains is an exception of the job, each with its path.
Result<> check_full_run(BlobSource& source, const BackupTask& task, const Revision& parent,
                        const BackupResult& result, bool knows_changes, const Reread* reread,
                        std::vector<std::string> explained, JobContext& job, JobOutcome& outcome) {
    const BackupSet& set = task.policy->sets.at(task.set);
    FullCheck check;
    check.before = parent.snapshot().tree;
    check.after = result.tree;
    check.set = &set;
    check.reread = reread;
    check.explained = std::move(explained);
    if (knows_changes)
        check.is_marked = [&](const std::string& path) {
            auto mark = task.tracker->pending(set.id, path);
            return !mark.ok() || *mark;
        };
    const FullCheckResult found = TRY(check_full(source, check, job.stop));
    for (const Unexplained& one : found.unexplained)
        job.exceptions.add(
            one.path,
            Error(ErrorKind::corrupt,
                  one.is_content
                      ? "its content is another one than the last revision has, and nothing tells "
                        "that it was changed: size, times and inode are the same"
                      : "it changed and no watch told of it: incremental runs would have missed "
                        "it"));
    outcome.counts.emplace_back("compared", found.differences);
    outcome.counts.emplace_back("differences", found.unexplained.size());
    if (found.unexplained.empty())
        job.message(LogLevel::info,
                    "0 differences to what an incremental run makes of it" +
                        std::string(found.is_whole ? ""
                                                   : " (in content; too much was changed "
                                                     "to look at each change)"));
    else
        job.message(LogLevel::error, std::to_string(found.unexplained.size()) +
                                         " differences to what an incremental run makes of it: "
                                         "the job's report lists them");
    return {};
}

Result<std::unique_ptr<TrackedRun>> begin_tracked(const BackupTask& task,
                                                  const std::optional<Revision>& parent,
                                                  bool is_damaged) {
    std::optional<RevisionId> continued;
    if (parent) continued = parent->id();
    return task.tracker->begin_run(task.set, continued, task.full || is_damaged);
}

// The administrator's commands around the run.
struct HookRun {
    HookFacts facts;
    bool has_begun = false;  // the one behind the run is due, however that ends
};

Result<JobOutcome> back_up(RepositoryPool& pool, const Clock& clock, const BackupTask& task,
                           JobContext& job, HookRun& hook) {
    const BackupSet& set = task.policy->sets.at(task.set);
    SetOnHost on_host = line_of(set);
    job.progress.phase = Phase::loading;
    RepositoryHandle opened = TRY(pool.open(set.repository));
    TRY(check_reserve(*opened->storage.backend, 1));
    Repository& repository = *opened->repository;
    std::vector<Revision> revisions = all_revisions(TRY(repository.list_revisions()));
    if (auto full = revisions_error(set, count_kept(revisions, on_host))) return std::move(*full);
    std::optional<Revision> parent = pick_parent(revisions, on_host, set.paths);

    // What the last revision relies on may be gone. Then all is compared, and what the index does
    // not know any more is stored again.
    const bool is_damaged =
        task.mends || pool.status(set.repository).state == RepositoryState::damaged;

    JobOutcome outcome;
    outcome.number = next_number(revisions, on_host, task.last_number);
    BackupRequest request;
    request.set = &set;
    if (parent) {
        request.parent = parent->entry;
        outcome.parent = parent->id().hex();
        job.message(LogLevel::info, "continues revision " + parent->id().short_hex());
    } else {
        job.message(LogLevel::info, "has no earlier revision: everything is new");
    }
    std::unique_ptr<TrackedRun> tracked;
    std::unique_ptr<ReplacedFs> replaced;
    if (!set.hooks.before.empty()) {
        // What changes from here on stays marked: a snapshot that the command takes may not have
        // it. Where it takes none, what it does itself belongs to this run.
        if (task.tracker != nullptr) tracked = TRY(begin_tracked(task, parent, is_damaged));
        const std::vector<Replacement> named = TRY(run_hook_before(set, hook.facts, job));
        hook.has_begun = true;
        if (named.empty()) tracked.reset();
        if (!named.empty()) {
            replaced = TRY_DURING(ReplacedFs::make(RealFs::instance(), named),
                                  "use what the command before the run named");
            request.fs = &*replaced;
            for (const Replacement& one : named)
                job.message(LogLevel::info, printable(one.with.text()) + " stands for " +
                                                printable(one.path.text()));
        }
    }
    for (const Path& path : set.paths) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode))
            job.message(LogLevel::warning,
                        printable(path.text()) +
                            " is a symbolic link: the link is kept, what it leads to is not");
    }
    request.full = task.full;
    request.trigger = task.trigger;
    request.number = outcome.number;
    request.hostname = on_host.host;
    request.threads = task.policy->read_threads;
    request.tree_rules = task.policy->tree_rules;
    request.read_back_percent = task.policy->read_back_percent;
    request.write.pack_bytes = task.policy->pack_bytes;
    request.write.compression_level = task.policy->compression_level;
    request.write.gives_way_to = task.gives_way_to;
    request.write.owner = set.id;
    request.write.pace = task.pace;
    request.never_enter = own_places(*task.policy, task.state_dir);
    request.clock = &clock;
    request.churn_before = task.churn_before;
    request.small_first = task.time_is_short;
    std::mutex unsettled_mutex;
    std::vector<std::string> unsettled;
    if (task.tracker != nullptr) {
        if (!tracked) tracked = TRY(begin_tracked(task, parent, is_damaged));
        request.look_at = tracked->look_at();
        request.has_gap = tracked->has_gap();
        request.absent = tracked->absent();
        request.reread = tracked->reread();
        if (parent && request.reread != nullptr) job.message(LogLevel::info, kStoppedSuddenly);
        request.unsettled = [&](const std::string& path) {
            tracked->unsettled(path);
            std::lock_guard lock(unsettled_mutex);
            unsettled.push_back(path);
        };
        if (parent && is_damaged && !task.full)
            job.message(LogLevel::warning,
                        "everything is compared: " +
                            std::string(task.mends ? "the last drill of the set failed"
                                                   : "the repository is damaged (backupctl "
                                                     "verify)"));
        else if (parent && !tracked->reason().empty())
            job.message(LogLevel::info, "everything is compared: " + tracked->reason());
        if (!request.absent.empty())
            job.message(LogLevel::warning,
                        "a file system is missing: what the last revision has of it is kept");
    }
    std::optional<GuardedRun> guard;
    if (parent && task.guard != nullptr) {
        guard.emplace(*task.guard, *task.policy, set, *opened, task.tracker, *parent,
                      clean_before(revisions, on_host, *parent), job, clock.now());
        if (task.was_running)
            TRY(guard->look_for_others(revisions, task.last_number, task.was_running));
        TRY(guard->look(request.absent));
        request.review = [&guard](const ChangeSigns& signs) -> Result<> {
            TRY(guard->review(signs));
            (void)failpoint("guard.reviewed");
            return {};
        };
    }
    std::optional<CheckpointKeeper> keeper;
    if (task.store != nullptr) {
        keeper.emplace(*task.store, set.id,
                       CheckpointRecord{.repository_id = repository.config().id,
                                        .job = job.id,
                                        .begin = clock.now(),
                                        .trigger = task.trigger});
        request.keep_checkpoint = [&](const Checkpoint& checkpoint) {
            return keeper->keep(checkpoint, clock.now());
        };
        request.checkpoint_pace.bytes = task.policy->checkpoint_bytes;
        resume(task, clock, repository.config().id, job, request, *keeper);
    }
    auto ran = run_backup(request, repository, job.progress, job.exceptions, job.stop);
    if (!ran.ok()) {
        if (keeper && keeper->kept())
            job.message(LogLevel::info,
                        "the next run takes it up here: " + kept_text(*keeper->kept()));
        return std::move(ran).error();
    }
    BackupResult result = std::move(*ran);
    const std::uint64_t unprotected = unprotected_items(result.limits, job.exceptions.count());
    if (result.counts.bytes_resumed > 0)
        job.message(LogLevel::info, "found again what an interrupted run had stored: " +
                                        plural(result.counts.files_resumed, "file") + ", " +
                                        plural(result.counts.bytes_resumed, "byte") +
                                        " not read again");
    std::vector<std::string> failed_paths;
    for (const Exception& exception : job.exceptions.list()) failed_paths.push_back(exception.path);
    Counts full_counts;
    if (task.full && parent) {
        std::vector<std::string> explained = failed_paths;
        explained.insert(explained.end(), unsettled.begin(), unsettled.end());
        for (const Path& path : request.absent) explained.push_back(path.text());
        // Before the marks are cleared: they are what explains a change.
        auto checked = check_full_run(repository.blobs(), task, *parent, result,
                                      tracked && tracked->knows_changes(), request.reread,
                                      std::move(explained), job, outcome);
        full_counts = std::exchange(outcome.counts, {});
        if (!checked.ok())
            job.message(LogLevel::warning,
                        "the comparison with an incremental run did not come to its end: " +
                            checked.error().message());
    }
    if (tracked) {
        tracked->committed(result.revision, failed_paths,
                           {result.limits.directories, result.limits.is_anywhere});
    }
    if (guard) guard->committed(result.revision);
    outcome.revision = result.revision.hex();
    outcome.counts = counts_of(result.counts);
    outcome.counts.insert(outcome.counts.end(), full_counts.begin(), full_counts.end());
    const Counts limits = limit_counts(set, result.limits);
    outcome.counts.insert(outcome.counts.end(), limits.begin(), limits.end());
    if (unprotected != 0) outcome.counts.emplace_back("unprotected", unprotected);
    outcome.limited = limit_error(set, result.limits);
    if (outcome.limited) job.message(LogLevel::warning, outcome.limited->message());
    pool.add_used_bytes(set.repository, result.counts.bytes_stored);
    job.message(LogLevel::info, "made revision " + result.revision.short_hex() + ", number " +
                                    std::to_string(outcome.number) + ", " +
                                    std::to_string(result.counts.bytes_stored) + " bytes stored");
    return outcome;
}

JobLine line_of(const CheckFinding& finding, Timestamp now) {
    bool is_error = finding.severity == CheckFinding::Severity::error;
    return {now, "finding", is_error ? "error" : "hint", finding.object, "", finding.message};
}

}  // namespace

std::vector<Path> own_places(const Policy& policy, const std::string& state_dir) {
    std::vector<Path> places;
    auto add = [&](const std::string& text) {
        if (auto path = Path::parse(text); path.ok()) places.push_back(std::move(*path));
    };
    add(state_dir);
    for (const auto& [name, repository] : policy.repositories)
        if (auto directory = local_directory(repository.url)) add(*directory);
    return places;
}

void note_full(SetRecord& set, const JobRecord& record) {
    // From before this was remembered: the period begins now.
    if (set.last_full == Timestamp{}) set.last_full = *record.end;
    // A first revision is read whole as well; what it would differ from is not there.
    if (record.parent.empty()) {
        set.last_full = *record.end;
        set.unexplained = 0;
        return;
    }
    for (const auto& [name, count] : record.counts) {
        if (name != "differences") continue;
        set.last_full = *record.end;
        set.unexplained = count;
    }
}

void remember_backup(StateStore& store, const JobRecord& record, std::uint64_t number) {
    auto set = store.set_record(record.set);
    if (!set.ok())
        return log_warning("cannot read what is known of a set: " + set.error().message());
    set->last_attempt = record.begin;
    set->last_result = record.outcome;
    note_limits(*set, record);
    if (record.outcome == "complete" || record.outcome == "exceptions") {
        set->last_success = *record.end;
        set->protected_until = record.begin;
        set->latest_revision = record.revision;
        set->last_number = std::max(set->last_number, number);
        if (set->drills_since == Timestamp{}) set->drills_since = *record.end;
        if (auto dropped = store.drop_checkpoint(record.set); !dropped.ok())
            log_warning("cannot forget a checkpoint: " + dropped.error().message());
        note_full(*set, record);
    }
    if (auto kept = store.put_set_record(record.set, *set); !kept.ok())
        log_warning("cannot remember the end of a backup: " + kept.error().message());
}

JobBody backup_body(RepositoryPool& pool, const Clock& clock, BackupTask task) {
    return [&pool, &clock, task = std::move(task)](JobContext& job) {
        const BackupSet& set = task.policy->sets.at(task.set);
        HookRun hook{{task.set, task.trigger, task.full ? "full" : "incremental", "", ""},
                     set.hooks.before.empty()};
        auto outcome = back_up(pool, clock, task, job, hook);
        HookFacts& facts = hook.facts;
        facts.outcome = outcome.ok()                                     ? "complete"
                        : outcome.error().kind() == ErrorKind::cancelled ? "cancelled"
                                                                         : "failed";
        if (outcome.ok()) facts.revision = outcome->revision;
        if (outcome.ok() && job.exceptions.count() > 0) facts.outcome = "exceptions";
        if (hook.has_begun) run_hook_after(set.hooks, facts, job);
        // What was stored is not what can be read: everybody must know.
        if (!outcome.ok() && outcome.error().code() == ErrorCode::repository_damaged)
            pool.report_damage(task.policy->sets.at(task.set).repository,
                               outcome.error().message());
        return outcome.ok() ? std::move(*outcome) : failed(std::move(outcome).error());
    };
}

JobBody check_body(RepositoryPool& pool, CheckTask task) {
    return [&pool, task = std::move(task)](JobContext& job) {
        auto opened = pool.open(task.repository);
        if (!opened.ok()) return failed(std::move(opened).error());
        CheckRequest request;
        request.revisions = task.revisions;
        request.data_percent = task.data_percent;
        job.progress.phase = Phase::verifying;
        (void)failpoint("verify.begun");
        auto result = check_repository(*(*opened)->repository, request, job.progress, job.stop);
        if (!result.ok()) return failed(std::move(result).error());
        JobOutcome outcome;
        outcome.counts = counts_of(*result);
        Timestamp now = std::chrono::system_clock::now();
        for (const CheckFinding& finding : result->findings)
            outcome.findings.push_back(line_of(finding, now));
        if (result->errors > 0)
            outcome.error = Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                                  plural(result->errors, "error") + " found in repository '" +
                                      task.repository + "': the job's report lists them");
        bool whole = task.revisions.empty();
        if (result->errors > 0 || whole)
            pool.report_damage(task.repository, outcome.error ? outcome.error->message() : "");
        return outcome;
    };
}

void remember_check(StateStore& store, const JobRecord& record) {
    bool found_errors = record.outcome == "failed" && record.error_name == "RepositoryDamaged";
    if (record.outcome != "complete" && !found_errors) return;  // it did not come to a verdict
    auto repository = store.repository_record(record.repository);
    if (!repository.ok()) return;
    repository->last_check = *record.end;
    repository->last_check_result = found_errors ? "errors" : "ok";
    if (auto kept = store.put_repository_record(record.repository, *repository); !kept.ok())
        log_warning("cannot remember the end of a check: " + kept.error().message());
}

}  // namespace backup
