#include "daemon/restore/restore.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/node_walk.h"
#include "daemon/runtime/bounded_queue.h"

namespace backup {

namespace {

Error cancelled() {
    return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
}

// Making files waits for locks of the file system more than for a processor.
unsigned worker_count(unsigned asked) {
    if (asked != 0) return std::min(asked, 64u);
    return std::clamp(2 * std::thread::hardware_concurrency(), 4u, 8u);
}

Result<Snapshot> load_snapshot(Repository& repository, const RevisionId& id) {
    Result<Snapshot> snapshot = repository.load_revision(id);
    if (!snapshot.ok() && snapshot.error().kind() == ErrorKind::not_found)
        return std::move(snapshot).error().with_code(ErrorCode::no_such_revision);
    return snapshot;
}

struct Restore {
    const RestoreRequest& request;
    Repository& repository;
    Progress& progress;
    ExceptionLog& exceptions;
    std::stop_token stop;
    Snapshot snapshot;
    std::vector<Selected> selected;
    dev_t target_device = 0;

    BatchWriter::Options writer_options() const {
        BatchWriter::Options options;
        options.on_conflict = request.on_conflict;
        options.dry_run = request.dry_run;
        options.verify = request.verify;
        options.threads = worker_count(request.threads);
        options.suffix = backup_suffix(snapshot.time);
        options.stop = stop;
        return options;
    }

    Result<> check_target();
    Result<> check_writable() const;
    Result<> search_conflicts();
    Result<RestoreResult> run();
    Result<> carry_out(DirectoryTable& directories, BatchWriter& writer);
};

Result<> Restore::check_target() {
    struct stat status {};
    if (request.target_fd < 0 || ::fstat(request.target_fd, &status) != 0 ||
        !S_ISDIR(status.st_mode))
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "the target of the restore is not a directory");
    target_device = status.st_dev;
    return {};
}

// Before anything is fetched: may the directories that exist and that things shall land in be
// written?
Result<> Restore::check_writable() const {
    for (const Selected& one : selected) {
        DirectoryTable directories(request.target_fd);
        DirectoryIndex at = directories.add_target("/");
        SharedFd fd = TRY(directories.open(at));
        for (const Node& passage : one.passages) {
            if (!request.full_paths || problem_with_name(passage.name) != nullptr) break;
            at = directories.add(at, passage.name);
            Result<SharedFd> next = directories.open(at);
            if (!next.ok()) break;
            fd = std::move(next).value();
        }
        if (::faccessat(fd->get(), ".", W_OK | X_OK, AT_EACCESS) != 0)
            return Error::from_errno(errno, "write to the target directory")
                .with_code(errno == EROFS || errno == EACCES ? ErrorCode::access_denied
                                                             : ErrorCode::none);
    }
    return {};
}

// `fail` writes nothing at all when anything is in the way, so everything is looked at first. Only
// what exists is descended into: for an empty target this is over at once.
Result<> Restore::search_conflicts() {
    progress.phase = Phase::scanning;
    Progress unseen;
    ExceptionLog quiet(unseen, 0);
    DirectoryTable directories(request.target_fd);
    BatchWriter::Options options = writer_options();
    options.dry_run = true;
    BatchWriter looker(options, repository.blobs(), directories, unseen, quiet);
    NodeWalk::Options walk_options;
    walk_options.full_paths = request.full_paths;
    walk_options.descend = [&](const EnterDirectory& enter, const RestoreBatch& batch) {
        // What cannot be looked at is no conflict: the run itself will say so.
        const DirectoryState state =
            looker.look_at_directory(enter, batch).value_or(DirectoryState::failed);
        return state == DirectoryState::existed || state == DirectoryState::resumed;
    };
    NodeWalk walk(repository.blobs(), directories, walk_options,
                  [&](std::unique_ptr<RestoreBatch> batch) {
                      BatchInFlight looked_at(std::move(batch));
                      return looker.look_at_objects(looked_at, stop);
                  });
    TRY(walk.run(selected, stop));
    const std::uint64_t count = looker.conflict_count();
    if (count == 0) return {};
    for (std::string& path : looker.conflicts())
        exceptions.add(std::move(path), Error(ErrorKind::conflict, ErrorCode::conflict,
                                              "something else is there already"));
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 std::to_string(count) +
                     (count == 1 ? " object is there already and differs"
                                 : " objects are there already and differ") +
                     "; nothing was changed");
}

// Three stages beside each other: the walk reads trees, this thread and its workers make files,
// another one commits. At most three batches exist at a time.
Result<> Restore::carry_out(DirectoryTable& directories, BatchWriter& writer) {
    struct Outcome {
        std::mutex mutex;  // guards error
        std::optional<Error> error;
        std::stop_source stop;
        void fail(Error failure) {
            {
                std::lock_guard lock(mutex);
                if (!error) error = std::move(failure);
            }
            stop.request_stop();
        }
    } outcome;
    std::stop_callback on_stop(stop, [&] { outcome.stop.request_stop(); });
    const std::stop_token over = outcome.stop.get_token();
    BoundedQueue<std::unique_ptr<RestoreBatch>> planned(1);
    BoundedQueue<std::unique_ptr<BatchInFlight>> written(1);

    std::jthread planner([&] {
        NodeWalk::Options options;
        options.full_paths = request.full_paths;
        options.refuse = [&](std::string path, Error error) {
            writer.refuse(std::move(path), std::move(error));
        };
        NodeWalk walk(repository.blobs(), directories, std::move(options),
                      [&](std::unique_ptr<RestoreBatch> batch) -> Result<> {
                          if (!planned.push(std::move(batch), 1, over)) return cancelled();
                          return {};
                      });
        if (Result<> done = walk.run(selected, over); !done.ok())
            outcome.fail(std::move(done).error());
        planned.close();
    });
    std::jthread committer([&] {
        // Drained even after an error: what is under way has temporary files.
        while (auto batch = written.pop(std::stop_token())) {
            Result<> done =
                over.stop_requested() ? Result<>(cancelled()) : writer.commit(**batch, over);
            if (done.ok()) continue;
            writer.abandon(**batch);
            outcome.fail(std::move(done).error());
        }
    });
    while (auto plan = planned.pop(over)) {
        auto batch = std::make_unique<BatchInFlight>(std::move(*plan));
        Result<> done = writer.write(*batch, over);
        if (!done.ok()) {
            writer.abandon(*batch);
            outcome.fail(std::move(done).error());
            break;
        }
        written.push(std::move(batch), 1, std::stop_token());
    }
    written.close();
    planner.join();
    committer.join();
    if (stop.stop_requested()) return cancelled();
    if (outcome.error) return std::move(*outcome.error);
    return {};
}

Result<RestoreResult> Restore::run() {
    progress.phase = Phase::loading;
    TRY(check_target());
    TRY(repository.refresh_index(stop));
    snapshot = TRY(load_snapshot(repository, request.revision));
    selected = TRY(select_paths(repository, snapshot.tree, request.paths, request.full_paths));
    if (!request.dry_run) TRY(check_writable());
    if (request.on_conflict == ConflictMode::fail) TRY(search_conflicts());

    progress.phase = Phase::restoring;
    if (request.paths.empty() && snapshot.summary) {
        progress.bytes_total = snapshot.summary->total_bytes_processed;
        progress.items_total = snapshot.summary->total_files_processed;
    }
    DirectoryTable directories(request.target_fd, target_device);
    BatchWriter writer(writer_options(), repository.blobs(), directories, progress, exceptions);
    TRY(carry_out(directories, writer));
    progress.phase = Phase::finishing;
    TRY(writer.finish());
    RestoreResult result;
    result.counts = writer.counts().snapshot();
    // Whatever else goes wrong, a failure is never passed over in silence.
    if (result.counts.failed > 0 && exceptions.count() == 0)
        exceptions.add("/", Error(ErrorKind::io, std::to_string(result.counts.failed) +
                                                     " objects could not be restored"));
    result.conflicts = writer.conflicts();
    result.conflict_count = writer.conflict_count();
    return result;
}

}  // namespace

Result<RestoreResult> run_restore(const RestoreRequest& request, Repository& repository,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop) {
    Restore restore{request, repository, progress, exceptions, stop, {}, {}, 0};
    return restore.run();
}

}  // namespace backup
