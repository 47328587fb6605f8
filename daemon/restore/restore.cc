#include "daemon/restore/restore.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/path.h"
#include "daemon/restore/batch_writer.h"
#include "daemon/restore/node_walk.h"
#include "daemon/restore/plan_record.h"
#include "daemon/restore/removal.h"
#include "daemon/restore/restore_changes.h"
#include "daemon/restore/restore_source.h"
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
    Restore(const RestoreRequest& asked, const RestoreSource& from, Progress& told,
            ExceptionLog& log, std::stop_token stopped)
        : request(asked),
          blobs(*from.blobs),
          snapshot(from.snapshot),
          selected(from.selected),
          rule(from.rule),
          progress(told),
          exceptions(log),
          stop(std::move(stopped)),
          record(asked.dry_run),
          removal(asked.target_fd, asked.delete_others ? spares() : Removal::Spares(),
                  asked.longest_kept) {
        if (asked.change_log != nullptr && !asked.dry_run)
            teller.emplace(*asked.change_log, asked.target_fd);
    }

    const RestoreRequest& request;
    BlobSource& blobs;
    const Snapshot& snapshot;
    const std::vector<Selected>& selected;
    const AccessRule& rule;
    Progress& progress;
    ExceptionLog& exceptions;
    std::stop_token stop;
    struct stat target {};
    PlanRecord record;
    Removal removal;
    std::optional<ChangeTeller> teller;
    std::unordered_set<std::string> unsettled;
    std::unordered_set<DirectoryIndex> elsewhere;  // behind a mount: nothing is removed there
    bool is_planned = false;
    std::uint64_t planned_bytes = 0, planned_items = 0;

    Removal::Spares spares() const {
        if (request.spares) return request.spares;
        return [](const std::string&, const std::string&, bool) { return false; };
    }
    BatchWriter::Options writer_options() const {
        BatchWriter::Options options;
        options.on_conflict = request.on_conflict;
        options.dry_run = request.dry_run;
        options.verify = request.verify;
        options.pace = request.pace;
        options.threads = worker_count(request.threads);
        options.suffix = backup_suffix(snapshot.time);
        options.stop = stop;
        options.is_ours = request.is_ours;
        options.alters = request.alters;
        options.unchanged_since = request.unchanged_since;
        options.longest_kept = request.longest_kept;
        return options;
    }
    DirectoryTable new_table() const {
        return DirectoryTable(request.target_fd, target.st_dev, target.st_mtim);
    }

    Result<> check_target();
    Result<> check_writable() const;
    bool wants_all() const;
    bool may_be_tight() const;
    Result<RestoreResult> plan(bool counts_all);
    Result<> add_others(DirectoryTable& directories, DirectoryIndex directory,
                        std::vector<std::string> names);
    bool is_elsewhere(DirectoryTable& directories, DirectoryIndex directory,
                      const std::string& source, int fd);
    UniqueFd open_for_space(dev_t device, const std::string& path) const;
    Result<> check_space(RestoreCounts& counts) const;
    Result<> protect();
    Result<> take_away(bool first, RestoreCounts& counts);
    Result<RestoreResult> run();
    Result<> carry_out(DirectoryTable& directories, BatchWriter& writer);
};

Result<> Restore::check_target() {
    if (request.target_fd < 0 || ::fstat(request.target_fd, &target) != 0 ||
        !S_ISDIR(target.st_mode))
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "the target of the restore is not a directory");
    return {};
}

// Before anything is fetched: may the directories that exist and that things shall land in be
// written?
Result<> Restore::check_writable() const {
    for (const Selected& one : selected) {
        // With full paths nothing of the root itself lands in the target.
        if (request.full_paths && one.node.name.empty()) continue;
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

// Everything that is in the revision was asked for, so its summary says how much it is.
bool Restore::wants_all() const {
    if (!snapshot.summary) return false;
    if (request.paths.empty()) return true;
    return std::ranges::all_of(snapshot.paths, [&](const std::string& text) {
        const auto path = Path::parse(text);
        return path.ok() && std::ranges::any_of(request.paths, [&](const std::string& asked) {
                   const auto above = Path::parse(asked);
                   return above.ok() && path->is_inside(*above);
               });
    });
}

// False: however much of it is to be written, it has room.
bool Restore::may_be_tight() const {
    struct statvfs room {};
    if (!snapshot.summary || ::fstatvfs(request.target_fd, &room) != 0) return true;
    const SnapshotSummary& all = *snapshot.summary;
    const std::uint64_t most = all.total_bytes_processed + 4096 * all.total_files_processed;
    return most >= room.f_bavail * room.f_frsize / 2;
}

// Looks at the target before anything is written: what would be done, and what is in the way. For
// an empty target this is over at once unless everything is to be counted.
Result<RestoreResult> Restore::plan(bool counts_all) {
    progress.phase = Phase::planning;
    is_planned = true;
    Progress unseen;
    ExceptionLog quiet(unseen, 0);
    ExceptionLog& told = request.dry_run ? exceptions : quiet;
    DirectoryTable directories = new_table();
    BatchWriter::Options options = writer_options();
    options.dry_run = true;
    options.record = &record;
    options.support = attribute_support(request.target_fd);
    options.removal = &removal;
    BatchWriter looker(options, blobs, directories, unseen, told);
    NodeWalk::Options walk_options;
    walk_options.full_paths = request.full_paths;
    walk_options.leaves_privileges = request.leaves_privileges;
    walk_options.rule = &rule;
    if (request.dry_run)
        walk_options.refuse = [&](std::string path, Error error) {
            looker.refuse(std::move(path), std::move(error));
        };
    walk_options.descend = [&](const EnterDirectory& enter, const RestoreBatch& batch) {
        // What cannot be looked at is no conflict: the run itself will say so.
        const DirectoryState state =
            looker.look_at_directory(enter, batch).value_or(DirectoryState::failed);
        return state == DirectoryState::existed || state == DirectoryState::resumed ||
               (counts_all && state == DirectoryState::imagined) || request.dry_run;
    };
    if (request.delete_others)
        walk_options.entries = [&](DirectoryIndex directory, std::vector<std::string> names) {
            return add_others(directories, directory, std::move(names));
        };
    NodeWalk walk(blobs, directories, walk_options,
                  [&](std::unique_ptr<RestoreBatch> batch) -> Result<> {
                      planned_bytes += batch->content_bytes;
                      planned_items += batch->objects.size() + batch->enters.size();
                      BatchInFlight looked_at(std::move(batch));
                      TRY(looker.write(looked_at, stop));
                      return looker.commit(looked_at, stop);
                  });
    if (!request.remove.empty()) TRY(removal.add_named(request.remove, record));
    if (!request.only_remove) TRY(walk.run(selected, stop));
    const std::uint64_t count = looker.conflict_count();
    if (request.on_conflict == ConflictMode::fail && count != 0) {
        if (!request.dry_run)
            for (std::string& path : looker.conflicts())
                exceptions.add(std::move(path), Error(ErrorKind::conflict, ErrorCode::conflict,
                                                      "something else is there already"));
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     std::to_string(count) +
                         (count == 1 ? " object is there already and differs"
                                     : " objects are there already and differ") +
                         "; nothing was changed");
    }
    if (request.dry_run) TRY(looker.finish());
    RestoreResult result;
    result.counts = looker.counts().snapshot();
    result.counts.deleted = removal.count();
    result.counts.spared = removal.spared();
    result.counts.bytes_created = record.bytes_created();
    result.counts.bytes_replaced = record.bytes_replaced();
    result.counts.bytes_deleted = record.bytes_deleted();
    result.conflicts = looker.conflicts();
    result.conflict_count = count;
    result.cannot_hold = record.cannot_hold_lines();
    record.stamps().seal();
    record.known_right().seal();
    if (counts_all) {
        progress.bytes_total = planned_bytes;
        progress.items_total = planned_items;
    }
    return result;
}

// Below something that is mounted in what was asked for: the revision does not speak of it.
bool Restore::is_elsewhere(DirectoryTable& directories, DirectoryIndex directory,
                           const std::string& source, int fd) {
    const DirectoryIndex above = directories.parent(directory);
    if (elsewhere.contains(above)) return elsewhere.insert(directory).second;
    const auto is_asked = [&](const std::string& text) { return text == source; };
    if (std::ranges::any_of(request.paths, is_asked) ||
        std::ranges::any_of(snapshot.paths, is_asked))
        return false;
    const Result<SharedFd> parent = directories.open(above);
    if (parent.ok() && is_on_same_mount((*parent)->get(), fd)) return false;
    return elsewhere.insert(directory).second;
}

// Only what belongs to the revision: of a directory above the paths of its set it has a part alone.
Result<> Restore::add_others(DirectoryTable& directories, DirectoryIndex directory,
                             std::vector<std::string> names) {
    const DirectoryState state = directories.state(directory);
    if (state != DirectoryState::existed && state != DirectoryState::resumed) return {};
    const std::string source = directories.source_path(directory);
    const auto path = TRY(Path::parse(source));
    const bool is_whole = std::ranges::any_of(snapshot.paths, [&](const std::string& text) {
        const auto above = Path::parse(text);
        return above.ok() && path.is_inside(*above);
    });
    if (!is_whole) return {};
    const SharedFd at = TRY(directories.open(directory));
    if (is_elsewhere(directories, directory, source, at->get())) {
        removal.spare();
        return {};
    }
    return removal.add_others(at->get(), directories.target_path(directory), source,
                              std::move(names), record);
}

std::string in_words(std::uint64_t bytes) {
    static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
    char text[48];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
    return text;
}

// Any existing directory on the file system, to ask how full it is.
UniqueFd Restore::open_for_space(dev_t device, const std::string& path) const {
    UniqueFd at(::openat(request.target_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    for (std::size_t begin = 1, end; (end = path.find('/', begin)) != path.npos; begin = end + 1) {
        UniqueFd next(::openat(at.get(), path.substr(begin, end - begin).c_str(),
                               O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next) break;
        at = std::move(next);
    }
    if (!at || ::fstat(at.get(), &status) != 0 || status.st_dev != device) at.reset();
    return at;
}

Result<> Restore::check_space(RestoreCounts& counts) const {
    for (const auto& [device, space] : record.space()) {
        UniqueFd other;
        int at = request.target_fd;
        if (device != target.st_dev) {
            other = open_for_space(device, space.path);
            if (!other) continue;
            at = other.get();
        }
        struct statvfs room {};
        if (::fstatvfs(at, &room) != 0) continue;
        const std::uint64_t free = room.f_bavail * room.f_frsize, needed = space.needed();
        const bool is_fuller = counts.space_free == 0 || needed > counts.space_needed;
        if (is_fuller) counts.space_needed = needed;
        if (is_fuller) counts.space_free = free;
        const bool lacks_inodes = room.f_files != 0 && space.objects > room.f_favail;
        if (request.dry_run || request.goes_on || (needed <= free && !lacks_inodes)) continue;
        return Error(ErrorKind::no_space, ErrorCode::no_space,
                     lacks_inodes
                         ? "not enough space in the target: it has room for " +
                               std::to_string(room.f_favail) + " more objects, and " +
                               std::to_string(space.objects) +
                               " are to be made; nothing was changed"
                         : "not enough space in the target: the restore needs " + in_words(needed) +
                               ", and " + in_words(free) + " are free; nothing was changed");
    }
    return {};
}

// What exists and will be touched is kept first, or nothing is touched at all.
Result<> Restore::protect() {
    if (!record.touches_anything() || !request.protect) return {};
    progress.phase = Phase::protecting;
    const std::vector<TouchedObject> touched = record.take_touched();
    // Progress is that of the keeping, meanwhile.
    const std::uint64_t bytes = progress.bytes_total, items = progress.items_total;
    progress.bytes_total = record.bytes_replaced() + record.bytes_deleted();
    progress.items_total = touched.size();
    auto kept = request.protect(touched);
    progress.bytes_total = bytes;
    progress.items_total = items;
    progress.bytes_done = 0;
    progress.items_done = 0;
    if (kept.ok()) {
        unsettled = std::move(*kept);
        return {};
    }
    if (kept.error().kind() == ErrorKind::cancelled) return std::move(kept).error();
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 "nothing was changed, because the present state of what would be replaced or "
                 "removed (" +
                     std::to_string(touched.size()) +
                     (touched.size() == 1 ? " object" : " objects") +
                     ") could not be kept: " + kept.error().message());
}

Result<> Restore::take_away(bool first, RestoreCounts& counts) {
    if (removal.count() == 0) return {};
    progress.phase = Phase::removing;
    Removal::Outcome outcome;
    const Result<> done =
        removal.carry_out(first,
                          {.stamps = record.stamps(),
                           .unsettled = unsettled,
                           .change_log = teller ? &*teller : nullptr,
                           .exceptions = exceptions,
                           .stop = stop,
                           .keeps_times = request.on_conflict == ConflictMode::replace},
                          outcome);
    counts.deleted += outcome.removed;
    counts.set_aside += outcome.set_aside;
    return done;
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
        options.leaves_privileges = request.leaves_privileges;
        options.rule = &rule;
        options.refuse = [&](std::string path, Error error) {
            writer.refuse(std::move(path), std::move(error));
        };
        NodeWalk walk(blobs, directories, std::move(options),
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
    if (!request.only_remove) {
        if (!request.dry_run) TRY(check_writable());
    }
    const ConflictMode mode = request.on_conflict;
    const bool touches = mode == ConflictMode::replace || mode == ConflictMode::newer ||
                         request.delete_others || !request.remove.empty();
    const bool all = wants_all();
    const bool counts_all = request.dry_run || touches || !all || may_be_tight();
    if (all) {
        progress.bytes_total = snapshot.summary->total_bytes_processed;
        progress.items_total = snapshot.summary->total_files_processed;
    }
    RestoreResult result;
    if (counts_all || mode == ConflictMode::fail) {
        RestoreResult planned = TRY(plan(counts_all));
        TRY(check_space(planned.counts));
        if (request.dry_run) {
            planned.steps = record.take_steps();
            return planned;
        }
        result.counts = {};
        result.counts.spared = planned.counts.spared;
        result.counts.space_needed = planned.counts.space_needed;
        result.counts.space_free = planned.counts.space_free;
    }
    TRY(protect());
    if (failpoint("restore.planned")) return Error(ErrorKind::io, "failpoint restore.planned");
    RestoreCounts removed;
    TRY(take_away(true, removed));

    progress.phase = Phase::restoring;
    DirectoryTable directories = new_table();
    BatchWriter::Options options = writer_options();
    if (is_planned) {
        options.planned = &record.stamps();
        options.known_right = &record.known_right();
    }
    options.unsettled = &unsettled;
    options.change_log = teller ? &*teller : nullptr;
    BatchWriter writer(options, blobs, directories, progress, exceptions);
    if (!request.only_remove) TRY(carry_out(directories, writer));
    TRY(take_away(false, removed));
    progress.phase = Phase::finishing;
    TRY(writer.finish());
    if (teller) TRY(teller->finish(request.mtimes));
    const RestoreResult planned = std::move(result);
    result = {};
    result.counts = writer.counts().snapshot();
    result.counts.deleted = removed.deleted;
    result.counts.set_aside += removed.set_aside;
    result.counts.spared = planned.counts.spared;
    result.counts.space_needed = planned.counts.space_needed;
    result.counts.space_free = planned.counts.space_free;
    result.counts.bytes_created = record.bytes_created();
    result.counts.bytes_replaced = record.bytes_replaced();
    result.counts.bytes_deleted = record.bytes_deleted();
    // Whatever else goes wrong, a failure is never passed over in silence.
    if (result.counts.failed > 0 && exceptions.count() == 0)
        exceptions.add("/", Error(ErrorKind::io, std::to_string(result.counts.failed) +
                                                     " objects could not be restored"));
    result.conflicts = writer.conflicts();
    result.conflict_count = writer.conflict_count();
    return result;
}

}  // namespace

Result<RestoreSource> open_source(const RestoreRequest& request, Repository& repository,
                                  const AccessRule& rule, std::stop_token stop) {
    RestoreSource source;
    source.blobs = &repository.blobs();
    source.rule = rule;
    if (request.only_remove) return source;
    TRY(repository.refresh_index(stop));
    source.snapshot = TRY(load_snapshot(repository, request.revision));
    source.selected = TRY(
        select_paths(repository, source.snapshot.tree, request.paths, request.full_paths, rule));
    return source;
}

Result<RestoreResult> run_restore(const RestoreRequest& request, const RestoreSource& source,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop) {
    Restore restore(request, source, progress, exceptions, std::move(stop));
    return restore.run();
}

Result<RestoreResult> run_restore(const RestoreRequest& request, Repository& repository,
                                  Progress& progress, ExceptionLog& exceptions,
                                  std::stop_token stop) {
    progress.phase = Phase::loading;
    const RestoreSource source = TRY(open_source(request, repository, AccessRule(), stop));
    return run_restore(request, source, progress, exceptions, std::move(stop));
}

}  // namespace backup
