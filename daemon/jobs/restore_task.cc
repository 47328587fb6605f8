#include "daemon/jobs/restore_task.h"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "daemon/access/told_error.h"
#include "daemon/archive/keep_objects.h"
#include "daemon/jobs/last_good.h"

namespace backup {

namespace {

// Snapshots are read by everybody who lists revisions.
constexpr std::size_t kMostPlaces = 16;
// Damaged files for which an older version is looked for.
constexpr std::size_t kMostLookedFor = 100;

std::string plural(std::uint64_t count, const std::string& one) {
    return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

// Backups give way to a restore, but not for ever to whoever makes one last: a person can stop the
// process that writes for him, or serve the directory that it writes to.
class Outranking {
  public:
    Outranking(const RestorePlace& place, const Clock& clock) {
        if (!place.precedence_allowed) {
            whole_.emplace(place.precedence);
            return;
        }
        lent_ = std::jthread([&place, &clock](const std::stop_token& over) {
            while (!over.stop_requested()) {
                std::optional<Precedence::Holder> held;
                if (place.precedence_allowed->take(kSlice, clock.monotonic()))
                    held.emplace(place.precedence);
                sleep(kSlice, over);
            }
        });
    }

  private:
    static constexpr Duration kSlice = std::chrono::seconds(1);
    static void sleep(Duration time, const std::stop_token& over) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock(mutex);
        never.wait_for(lock, over, time, [] { return false; });
    }
    std::optional<Precedence::Holder> whole_;
    std::jthread lent_;
};

std::string below(const std::string& target, const std::string& path) {
    if (target == "/") return path;
    return path == "/" ? target : target + path;
}

// The directories that hold what is touched, or those above when they are many.
std::vector<std::string> places_of(const std::vector<ObjectToKeep>& objects) {
    std::set<std::string> places;
    for (const ObjectToKeep& object : objects)
        places.insert(object.path.substr(0, std::max<std::size_t>(object.path.rfind('/'), 1)));
    while (places.size() > kMostPlaces) {
        std::set<std::string> above;
        for (const std::string& place : places)
            above.insert(place.substr(0, std::max<std::size_t>(place.rfind('/'), 1)));
        places = std::move(above);
    }
    return {places.begin(), places.end()};
}

// Whether all content of a file can be had, or the list of a directory.
bool is_intact(Repository& repository, const Node& node) {
    if (node.subtree) return repository.blobs().check({BlobType::tree, *node.subtree}).ok();
    return std::ranges::all_of(node.content, [&](const BlobId& id) {
        const BlobHandle handle{BlobType::data, id};
        return repository.blobs().contains(handle) && repository.blobs().check(handle).ok();
    });
}

// The newest older revision of the line in which the file has other content that is whole.
std::optional<Revision> older_intact(Repository& repository,
                                     const std::vector<Revision>& newest_first,
                                     const Revision& from, const std::string& path,
                                     const AccessRule& rule) {
    const SetOnHost line{from.tags.set, from.snapshot().hostname};
    auto damaged = find_node(repository, from.snapshot().tree, path);
    std::set<std::vector<BlobId>> seen;
    const auto parts_of = [](const Node& node) {
        return node.subtree ? std::vector<BlobId>{*node.subtree} : node.content;
    };
    if (damaged.ok()) seen.insert(parts_of(damaged->node));
    for (const Revision& revision : newest_first) {
        if (!belongs_to(revision, line) || revision.is_trashed() ||
            revision.tags.number >= from.tags.number)
            continue;
        auto node = find_node(repository, revision.snapshot().tree, path, rule);
        if (!node.ok() || !rule.may_open(node->node)) continue;
        if (node->node.type != NodeType::file && node->node.type != NodeType::dir) continue;
        if (!seen.insert(parts_of(node->node)).second) continue;
        if (is_intact(repository, node->node)) return revision;
    }
    return std::nullopt;
}

// Where we write is not told to everybody.
Result<std::unique_ptr<UndoLog>> begin_log(const RestorePlace& place, const UndoRecord& record) {
    auto log = UndoLog::begin(place.undo_folder, record);
    if (!log.ok()) return told_and_logged(place.caller, log.error(), "a restore");
    return log;
}

}  // namespace

void name_older(Repository& repository, const RevisionId& id, JobContext& job, JobOutcome& outcome,
                Timestamp now, const AccessRule& rule) {
    const std::vector<Exception> list = job.exceptions.list();
    const bool any = std::ranges::any_of(
        list, [](const Exception& one) { return one.error.kind() == ErrorKind::corrupt; });
    if (!any) return;
    auto entries = repository.list_revisions();
    if (!entries.ok()) return;
    const std::vector<Revision> revisions = all_revisions(std::move(*entries));
    const auto from =
        std::ranges::find_if(revisions, [&](const Revision& one) { return one.id() == id; });
    if (from == revisions.end() || from->tags.set.empty() || is_pre_restore(*from)) return;
    std::size_t looked = 0;
    for (const Exception& one : list) {
        if (one.error.kind() != ErrorKind::corrupt) continue;
        if (job.stop.stop_requested() || ++looked > kMostLookedFor) return;
        if (auto older = older_intact(repository, revisions, *from, one.path, rule))
            outcome.findings.push_back(
                {now, "finding", "hint", one.path, "",
                 "an older version is intact: --revision " + name_of(*older)});
    }
}

std::size_t longest_kept(const std::string& target) {
    constexpr std::size_t kPathMax = 4095;
    return kPathMax - std::min(target.size() + 1, kPathMax);
}

std::vector<std::pair<std::string, std::uint64_t>> counts_of(const RestoreResult& result) {
    const RestoreCounts& counts = result.counts;
    return {
        {"created", counts.created},
        {"replaced", counts.replaced},
        {"kept-both", counts.kept_both},
        {"skipped", counts.skipped},
        {"unchanged", counts.unchanged},
        {"deleted", counts.deleted},
        {"spared", counts.spared},
        {"set-aside", counts.set_aside},
        {"failed", counts.failed},
        {"files", counts.files},
        {"directories", counts.directories},
        {"others", counts.others},
        {"bytes", counts.bytes},
        {"bytes-fetched", counts.bytes_fetched},
        {"bytes-resumed", counts.bytes_resumed},
        {"bytes-created", counts.bytes_created},
        {"bytes-replaced", counts.bytes_replaced},
        {"bytes-deleted", counts.bytes_deleted},
        {"space-needed", counts.space_needed},
        {"space-free", counts.space_free},
        {"conflicts", result.conflict_count},
    };
}

void add_plan(const RestoreResult& result, JobOutcome& outcome, Timestamp now) {
    for (const std::string& line : result.cannot_hold)
        outcome.findings.push_back(
            {now, "finding", "hint", "", "", "the target cannot hold: " + line});
    for (const PlannedStep& step : result.steps)
        outcome.findings.push_back(
            {now, "plan", step.action, step.path, "", std::to_string(step.bytes)});
}

Result<std::string> path_of_directory(int fd) {
    char text[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t length = ::readlink(link.c_str(), text, sizeof text);
    struct stat opened {
    }, named{};
    if (length <= 0 || length == sizeof text) return Error::from_errno(errno, "name the target");
    std::string path(text, static_cast<std::size_t>(length));
    if (::fstat(fd, &opened) != 0 || ::lstat(path.c_str(), &named) != 0 ||
        opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)
        return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                     "the target directory has no name any more");
    return path;
}

Result<std::unordered_set<std::string>> keep_touched(const RestorePlace& place,
                                                     const std::string& target,
                                                     const std::vector<TouchedObject>& touched,
                                                     UndoLog& log, const Clock& clock,
                                                     JobContext& job) {
    if (failpoint("restore.protect")) return Error(ErrorKind::io, "failpoint restore.protect");
    KeepRequest request;
    for (const TouchedObject& one : touched)
        request.objects.push_back({below(target, one.path), one.is_directory});
    request.places = places_of(request.objects);
    request.tags.set = place.set.id;
    request.tags.number = job.id;
    request.tags.trigger = kPreRestore;
    request.tags.others = {kPreRestore};
    request.hostname = host_of(place.set);
    request.threads = place.policy->read_threads;
    request.tree_rules = place.policy->tree_rules;
    request.write.pack_bytes = place.policy->pack_bytes;
    request.write.compression_level = place.policy->compression_level;
    request.clock = &clock;
    const KeptObjects kept =
        TRY(keep_objects(request, *place.repository->repository, job.progress, job.stop));
    log.kept(kept.revision.hex());
    TRY(log.sync());
    job.message(LogLevel::info, "kept the present state of " + plural(touched.size(), "object") +
                                    " as revision " + kept.revision.short_hex() +
                                    "; `backupctl undo " + std::to_string(job.id) +
                                    "` takes the restore back");
    std::unordered_set<std::string> unsettled;
    for (const std::string& path : kept.unsettled)
        unsettled.insert(target == "/" ? path : path.substr(std::min(target.size(), path.size())));
    return unsettled;
}

Result<RestoreResult> restore_for(const RestorePlace& place, const RestoreRequest& request,
                                  JobContext& job) {
    Repository& repository = *place.repository->repository;
    if (!place.written_with)
        return run_restore(request, repository, job.progress, job.exceptions, job.stop);
    return writer::run_restore_as(place.caller, *place.written_with, writer::writer_program(),
                                  request, repository, job.progress, job.exceptions, job.stop);
}

JobBody restore_body(const Clock& clock, RestoreTask task) {
    auto shared = std::make_shared<RestoreTask>(std::move(task));
    return [&clock, shared](JobContext& job) {
        const auto run = [&]() -> Result<JobOutcome> {
            if (shared->missing_below != 0)
                job.message(LogLevel::warning,
                            plural(shared->missing_below, "path") +
                                " could not be read when the revision was made: `backupctl show " +
                                shared->name + "` says where their last good versions are");
            const RestorePlace& place = shared->place;
            const Outranking outranking(place, clock);
            Repository& repository = *place.repository->repository;
            UndoRecord record;
            record.job = job.id;
            record.set = place.set.id;
            record.repository = place.set.repository;
            record.repository_id = repository.config().id;
            record.revision = shared->revision.hex();
            record.paths = shared->paths;
            record.on_conflict = to_string(shared->on_conflict);
            record.full_paths = shared->full_paths;
            record.verify = shared->verify;
            record.delete_others = shared->delete_others;
            if (place.caller.uid != 0) {
                record.all = place.written_with == writer::Rights::caller && place.caller.sees_all;
                record.as_root = place.as_root;
            }
            record.resumes = shared->resumes;
            record.target = shared->target_path.empty()
                                ? TRY(path_of_directory(shared->target.get()))
                                : shared->target_path;
            std::unique_ptr<UndoLog> log;
            if (!shared->dry_run)
                log = TRY_DURING(begin_log(place, record),
                                 "write down how the restore can be taken back");

            RestoreRequest request;
            request.revision = shared->revision;
            request.paths = shared->paths;
            request.target_fd = shared->target.get();
            request.target_path = shared->target_path;
            request.full_paths = shared->full_paths;
            request.on_conflict = shared->on_conflict;
            request.dry_run = shared->dry_run;
            request.verify = shared->verify;
            request.goes_on = shared->resumes != 0;
            request.delete_others = shared->delete_others;
            request.clock = &clock;
            request.pace = shared->place.pace;
            request.change_log = log.get();
            request.longest_kept = longest_kept(record.target);
            if (shared->spares)
                request.spares = [&](const std::string& source, const std::string& path,
                                     bool is_directory) {
                    return shared->spares(source, below(record.target, path), is_directory);
                };
            if (log)
                request.protect = [&](const std::vector<TouchedObject>& touched) {
                    return keep_touched(place, record.target, touched, *log, clock, job);
                };
            const RestoreResult result = TRY(restore_for(place, request, job));
            JobOutcome outcome;
            outcome.counts = counts_of(result);
            add_plan(result, outcome, clock.now());
            name_older(repository, shared->revision, job, outcome, clock.now(),
                       rule_for(place.caller));
            return outcome;
        };
        auto ran = run();
        JobOutcome outcome = ran.ok() ? std::move(*ran) : failed(std::move(ran).error());
        outcome.revision = shared->revision.hex();
        return outcome;
    };
}

}  // namespace backup
