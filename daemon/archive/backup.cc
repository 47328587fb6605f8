#include "daemon/archive/backup.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "backupd_config.h"
#include "common/log.h"
#include "daemon/archive/archiver.h"
#include "daemon/archive/measure.h"
#include "daemon/archive/read_back.h"
#include "daemon/archive/source_paths.h"
#include "daemon/repository/identity.h"

namespace backup {

namespace {

const SystemClock kSystemClock;

GoRules chosen_rules(const BackupRequest& request) {
    if (request.tree_rules == "go119") return GoRules::go119;
    if (request.tree_rules == "go122" || !request.parent) return GoRules::go122;
    return go_rules_for(request.parent->snapshot.program_version);
}

// Names the rules where they are not the current ones, so that the next run follows them.
std::string own_version(GoRules rules) {
    std::string version = "backupd " BACKUPD_VERSION;
    switch (rules) {
        case GoRules::go119:
            return version + " (go119)";
        case GoRules::go122:
            return version;
    }
    return version;
}

// What the revision lacks, or may lack: so that its last good version is found and kept.
void name_missing(const ExceptionLog& exceptions, RevisionTags& tags) {
    std::set<std::string> known;
    for (const Exception& exception : exceptions.list()) {
        // What a limit left out was never in, or is there as it was.
        if (exception.error.code() == ErrorCode::quota_exceeded) continue;
        if (!known.insert(exception.path).second) continue;
        if (tags.missing.size() < kMostMissing && exception.path.size() <= kLongestMissing)
            tags.missing.push_back(exception.path);
        else
            tags.more_missing = true;
    }
    if (exceptions.count() > exceptions.list().size()) tags.more_missing = true;
}

Snapshot describe(const BackupRequest& request, GoRules rules, Timestamp begin,
                  const ExceptionLog& exceptions) {
    Identity self = own_identity();
    const BackupSet& set = *request.set;
    Snapshot snapshot;
    snapshot.time = begin;
    if (request.parent) snapshot.parent = request.parent->id;
    for (const Path& path : set.paths) snapshot.paths.push_back(path.text());
    snapshot.hostname = !request.hostname.empty() ? request.hostname
                        : !set.hostname.empty()   ? set.hostname
                                                  : self.hostname;
    snapshot.username = self.username;
    snapshot.uid = self.uid;
    snapshot.gid = self.gid;
    snapshot.excludes = set.exclude.patterns;
    RevisionTags tags;
    tags.set = set.id;
    tags.number = request.number;
    tags.trigger = request.trigger;
    tags.mode = request.full || !request.parent ? "full" : "incremental";
    tags.exceptions = exceptions.count();
    name_missing(exceptions, tags);
    tags.has_gap = request.has_gap;
    if (std::string machine = machine_tag(); !machine.empty())
        tags.others.push_back(std::move(machine));
    snapshot.tags = make_tags(tags);
    snapshot.program_version = own_version(rules);
    return snapshot;
}

// What was not looked at is in the revision as well: the parent's totals, corrected by what
// changed.
void add_untouched(BackupCounts& counts, const BackupRequest& request,
                   const ArchiveOutcome& walked) {
    if (request.look_at == nullptr || request.full || !request.parent ||
        !request.parent->snapshot.summary)
        return;
    const SnapshotSummary& before = *request.parent->snapshot.summary;
    if (before.total_files_processed < walked.files_before ||
        before.total_bytes_processed < walked.bytes_before)
        return;  // the parent's summary cannot be right
    std::uint64_t untouched = before.total_files_processed - walked.files_before;
    counts.files_unmodified += untouched;
    counts.total_files += untouched;
    counts.total_bytes += before.total_bytes_processed - walked.bytes_before;
    const std::uint64_t directories =
        before.dirs_new + before.dirs_changed + before.dirs_unmodified;
    counts.dirs_unmodified += directories - std::min(directories, walked.directories_before);
}

ChangeSigns signs_of(const BackupRequest& request, const ArchiveOutcome& walked,
                     const BackupCounts& counts) {
    ChangeSigns signs = walked.signs;
    signs.files_now = counts.total_files;
    if (const auto& before = request.parent->snapshot.summary)
        signs.files_before = before->total_files_processed;
    else if (request.look_at == nullptr || request.full)
        signs.files_before = walked.files_before;
    return signs;
}

SnapshotSummary summarise(const BackupCounts& counts, Timestamp begin, Timestamp end) {
    SnapshotSummary summary;
    summary.backup_start = begin;
    summary.backup_end = end;
    summary.files_new = counts.files_new;
    summary.files_changed = counts.files_changed;
    summary.files_unmodified = counts.files_unmodified;
    summary.dirs_new = counts.dirs_new;
    summary.dirs_changed = counts.dirs_changed;
    summary.dirs_unmodified = counts.dirs_unmodified;
    summary.data_blobs = counts.data_blobs_new;
    summary.tree_blobs = counts.tree_blobs_new;
    summary.data_added = counts.bytes_added;
    summary.data_added_packed = counts.bytes_stored;
    summary.total_files_processed = counts.total_files;
    summary.total_bytes_processed = counts.total_bytes;
    return summary;
}

void add_session(BackupCounts& counts, const WriteSession::Counters& session) {
    counts.data_blobs_new = session.data_blobs_new;
    counts.tree_blobs_new = session.tree_blobs_new;
    counts.blobs_new = session.data_blobs_new + session.tree_blobs_new;
    counts.bytes_added = session.bytes_added;
    counts.bytes_stored = session.bytes_stored;
}

// Limits that nothing but a look at the source can tell of. Those of the whole revision are soft.
bool must_be_measured(const Limits& limits) {
    const LimitValues& hard = limits.hard;
    return hard.items != 0 || hard.bytes != 0 || hard.file_size != 0 || hard.churn != 0 ||
           limits.soft.file_size != 0 || limits.soft.churn != 0;
}

// Before anything is read: what of the source may come in.
Result<> admit(const BackupRequest& request, const ArchiveInput& input, ExceptionLog& exceptions,
               std::optional<Admission>& admission, std::stop_token stop) {
    const Limits& limits = request.set->limits;
    MeasureRequest measuring{.limits = &limits};
    if (request.parent && request.parent->snapshot.summary)
        measuring.parent = &*request.parent->snapshot.summary;
    const Measured measured = TRY(measure_source(input, measuring, stop));
    std::optional<std::uint64_t> churn_before;
    if (request.parent) churn_before = request.churn_before;
    admission.emplace(limits, measured, churn_before, &exceptions);
    if (admission->fits()) return {};
    measuring.plan = &*admission;
    TRY(measure_source(input, measuring, stop));
    return {};
}

void expect(Progress& progress, const BackupRequest& request) {
    if (!request.parent || !request.parent->snapshot.summary) return;
    const SnapshotSummary& before = *request.parent->snapshot.summary;
    progress.bytes_total = before.total_bytes_processed;
    progress.items_total = before.total_files_processed + before.dirs_new + before.dirs_changed +
                           before.dirs_unmodified;
}

}  // namespace

Result<BackupResult> run_backup(const BackupRequest& request, Repository& repository,
                                Progress& progress, ExceptionLog& exceptions,
                                std::stop_token stop) {
    const Clock& clock = request.clock != nullptr ? *request.clock : kSystemClock;
    Fs& fs = request.fs != nullptr ? *request.fs : RealFs::instance();
    const BackupSet& set = *request.set;
    Timestamp begin = clock.now();

    // Everything that can be refused is refused before the repository is touched.
    Matcher matcher = TRY(Matcher::compile(set.exclude.patterns));
    SourcePaths paths =
        TRY(existing_paths(fs, set, request.parent ? request.absent : std::vector<Path>()));
    for (Exception& one : paths.missing) exceptions.add(std::move(one.path), std::move(one.error));
    auto targets = build_targets(paths.found);
    GoRules rules = chosen_rules(request);

    progress.phase = Phase::locking;
    WriteOptions write = request.write;
    if (request.parent) write.continues = request.parent->id;
    std::unique_ptr<WriteSession> session = TRY(repository.start_write(write, stop));

    progress.phase = Phase::reading;
    expect(progress, request);
    ArchiveInput input{.fs = fs,
                       .sink = *session,
                       .source = repository.blobs(),
                       .clock = clock,
                       .progress = progress,
                       .exceptions = exceptions,
                       .targets = *targets,
                       .exclude = set.exclude,
                       .matcher = matcher,
                       .look_at = request.full ? nullptr : request.look_at,
                       .unsettled = request.unsettled,
                       .never_enter = identities(fs, request.never_enter),
                       .full = request.full,
                       .read_back_percent = request.read_back_percent,
                       .polynomial = repository.config().chunker_polynomial,
                       .rules = rules,
                       .zone = Zone::local(),
                       .threads = request.threads};
    input.small_first = request.small_first;
    if (request.parent) {
        input.reread = request.reread;
        input.parent_tree = request.parent->snapshot.tree;
        input.parent_time = request.parent->snapshot.time;
        for (const Path& path : request.absent) input.absent.push_back(path.text());
    }
    CheckpointPlan checkpoints;
    if (request.keep_checkpoint) {
        checkpoints.pace = request.checkpoint_pace;
        checkpoints.wind_up = [&] { session->wind_up(); };
        checkpoints.keep = [&](const Checkpoint& checkpoint) -> Result<> {
            // At the end all of it, or what was read last would have to be read again.
            TRY(stop.stop_requested() ? session->checkpoint() : session->settle_trees());
            return request.keep_checkpoint(checkpoint);
        };
        input.checkpoints = &checkpoints;
    }
    if (request.resumed && !request.full) input.resumed = &*request.resumed;
    std::optional<Admission> admission;
    if (must_be_measured(set.limits)) {
        progress.phase = Phase::scanning;
        TRY(admit(request, input, exceptions, admission, stop));
        input.admission = &*admission;
        progress.phase = Phase::reading;
    }
    auto walked = archive_tree(input, stop);
    if (!walked.ok()) {
        Error error = std::move(walked).error();
        if (error.kind() != ErrorKind::cancelled) return error;
        // What is stored already will be found by the next run.
        if (auto kept = session->checkpoint();
            !kept.ok() && kept.error().kind() != ErrorKind::cancelled)
            log_warning("the work of a cancelled backup is lost: " + kept.error().message());
        return error;
    }

    BackupResult result;
    result.tree = walked->tree;
    result.counts = walked->counts;
    if (admission) result.limits = admission->report();
    add_untouched(result.counts, request, *walked);
    // What is read back must be stored, and the index must know where.
    if (!walked->read_back.empty())
        TRY_DURING(session->checkpoint(), "prepare to read again what was written");
    if (request.review && request.parent) {
        auto passed = request.review(signs_of(request, *walked, result.counts));
        if (!passed.ok()) {
            if (auto kept = session->checkpoint(); !kept.ok())
                log_warning("the work of a held backup is lost: " + kept.error().message());
            return std::move(passed).error();
        }
    }
    const ReadBackCounts seen =
        TRY(read_back(repository.blobs(), walked->read_back,
                      repository.backend().properties().connections, progress, stop));
    result.counts.blobs_read_back = seen.blobs;
    result.counts.bytes_read_back = seen.bytes;
    progress.phase = Phase::committing;
    add_session(result.counts, session->counters());
    result.snapshot = describe(request, rules, begin, exceptions);
    result.snapshot.tree = walked->tree;
    result.snapshot.summary = summarise(result.counts, begin, clock.now());
    result.revision = TRY(session->commit(result.snapshot));
    progress.phase = Phase::finishing;
    return result;
}

}  // namespace backup
