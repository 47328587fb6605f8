#include "daemon/archive/keep_objects.h"

#include <memory>
#include <mutex>
#include <utility>

#include "backupd_config.h"
#include "daemon/archive/archiver.h"
#include "daemon/repository/identity.h"

namespace backup {

namespace {

const SystemClock kSystemClock;

// A directory is a leaf that was not asked for: it comes as it is above a path of a set, alone.
Result<std::unique_ptr<TargetNode>> targets_of(const std::vector<ObjectToKeep>& objects) {
    auto root = std::make_unique<TargetNode>();
    for (const ObjectToKeep& object : objects) {
        const Path path = TRY(Path::parse(object.path));
        TargetNode* node = root.get();
        for (std::string_view component : path.components()) {
            std::unique_ptr<TargetNode>& child = node->children[std::string(component)];
            if (!child) child = std::make_unique<TargetNode>();
            node = child.get();
        }
        node->is_target = !object.is_directory;
    }
    return root;
}

Snapshot describe(const KeepRequest& request, Timestamp begin) {
    const Identity self = own_identity();
    Snapshot snapshot;
    snapshot.time = begin;
    snapshot.paths = request.places;
    snapshot.hostname = request.hostname.empty() ? self.hostname : request.hostname;
    snapshot.username = self.username;
    snapshot.uid = self.uid;
    snapshot.gid = self.gid;
    RevisionTags tags = request.tags;
    if (std::string machine = machine_tag(); !machine.empty())
        tags.others.push_back(std::move(machine));
    snapshot.tags = make_tags(tags);
    snapshot.program_version = "backupd " BACKUPD_VERSION;
    return snapshot;
}

}  // namespace

Result<KeptObjects> keep_objects(const KeepRequest& request, Repository& repository,
                                 Progress& progress, std::stop_token stop) {
    const Clock& clock = request.clock != nullptr ? *request.clock : kSystemClock;
    const Timestamp begin = clock.now();
    const auto targets = TRY(targets_of(request.objects));
    const Matcher no_matcher;
    ExcludeRules no_rules;
    no_rules.cachedir_tag = no_rules.nodump = false;
    KeptObjects kept;
    std::mutex mutex;  // guards kept.unsettled while the walk runs
    Progress unseen;
    ExceptionLog exceptions(unseen);
    std::unique_ptr<WriteSession> session = TRY(repository.start_write(request.write, stop));
    ArchiveInput input{.fs = RealFs::instance(),
                       .sink = *session,
                       .source = repository.blobs(),
                       .clock = clock,
                       .progress = progress,
                       .exceptions = exceptions,
                       .targets = *targets,
                       .exclude = no_rules,
                       .matcher = no_matcher,
                       .unsettled =
                           [&](const std::string& path) {
                               std::lock_guard lock(mutex);
                               kept.unsettled.insert(path);
                           },
                       .polynomial = repository.config().chunker_polynomial,
                       .rules = request.tree_rules == "go119" ? GoRules::go119 : GoRules::go122,
                       .zone = Zone::local(),
                       .threads = request.threads};
    const ArchiveOutcome walked = TRY(archive_tree(input, stop));
    for (const Exception& one : exceptions.list()) {
        if (one.error.kind() == ErrorKind::not_found) continue;
        // One that does not come to rest is told as unsettled, too, or cannot be read at all.
        if (kept.unsettled.contains(one.path)) continue;
        return Error(one.error).during("keep " + printable(one.path));
    }
    kept.counts = walked.counts;
    const WriteSession::Counters stored = session->counters();
    Snapshot snapshot = describe(request, begin);
    snapshot.tree = walked.tree;
    SnapshotSummary summary;
    summary.backup_start = begin;
    summary.backup_end = clock.now();
    summary.files_new = walked.counts.files_new;
    summary.dirs_new = walked.counts.dirs_new;
    summary.data_blobs = stored.data_blobs_new;
    summary.tree_blobs = stored.tree_blobs_new;
    summary.data_added = stored.bytes_added;
    summary.data_added_packed = stored.bytes_stored;
    summary.total_files_processed = walked.counts.total_files;
    summary.total_bytes_processed = walked.counts.total_bytes;
    snapshot.summary = summary;
    kept.counts.bytes_stored = stored.bytes_stored;
    kept.revision = TRY(session->commit(snapshot));
    return kept;
}

}  // namespace backup
