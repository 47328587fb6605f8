#include "daemon/jobs/drill_task.h"

#include <algorithm>
#include <cerrno>
#include <set>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/path.h"
#include "common/unique_fd.h"
#include "daemon/jobs/catalog.h"
#include "daemon/jobs/last_good.h"
#include "daemon/jobs/restore_task.h"
#include "daemon/jobs/scratch_folder.h"
#include "daemon/restore/existing.h"
#include "daemon/restore/metadata.h"
#include "daemon/restore/sample.h"
#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

constexpr std::size_t kMostRemembered = 64;  // paths that could not be given back
// Left free beside what a drill writes.
constexpr std::uint64_t kRoom = std::uint64_t{64} << 20;
// Stamps alone tell nothing of what happened as close as this to the begin of the backup.
constexpr std::int64_t kSettledSeconds = 2;

std::string plural(std::uint64_t count, const std::string& one) {
    return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

Error damage(std::string message) {
    return Error(ErrorKind::corrupt, ErrorCode::repository_damaged, std::move(message));
}

bool is_damage(const Error& error) {
    return error.kind() == ErrorKind::corrupt;
}

bool is_same(const timespec& time, const FileTime& other) {
    return time.tv_sec == other.seconds &&
           static_cast<std::uint32_t>(time.tv_nsec) == other.nanoseconds;
}

// The very object that was read for the revision, as far as its stamps tell.
bool has_stamps_of(const struct stat& live, const Node& node) {
    return S_ISREG(live.st_mode) && live.st_ino == node.inode &&
           static_cast<std::uint64_t>(live.st_size) == node.size &&
           is_same(live.st_mtim, node.mtime) && is_same(live.st_ctim, node.ctime);
}

UniqueFd open_live(const std::string& path) {
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    UniqueFd fd(::open(path.c_str(), flags | O_NOATIME));
    if (!fd && errno == EPERM) fd = UniqueFd(::open(path.c_str(), flags));
    return fd;
}

enum class Comparison { same, other, unknown };

Comparison compare_bytes(int one, int other, const std::stop_token& stop) {
    constexpr std::size_t kStep = std::size_t{1} << 18;
    std::string a(kStep, '\0'), b(kStep, '\0');
    const auto fill = [](int fd, std::string& into, off_t at) -> ssize_t {
        std::size_t filled = 0;
        while (filled < into.size()) {
            const ssize_t got = ::pread(fd, into.data() + filled, into.size() - filled,
                                        at + static_cast<off_t>(filled));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return -1;
            if (got == 0) break;
            filled += static_cast<std::size_t>(got);
        }
        return static_cast<ssize_t>(filled);
    };
    for (off_t at = 0;; at += static_cast<off_t>(kStep)) {
        if (stop.stop_requested()) return Comparison::unknown;
        const ssize_t x = fill(one, a, at), y = fill(other, b, at);
        if (x < 0 || y < 0) return Comparison::unknown;
        const auto length = static_cast<std::size_t>(x);
        if (x != y || a.compare(0, length, b, 0, length) != 0) return Comparison::other;
        if (length < kStep) return Comparison::same;
    }
}

// What the target cannot hold is no fault of the backup.
Node holdable(Node node, const AttributeSupport& support) {
    std::erase_if(node.extended_attributes, [&](const ExtendedAttribute& attribute) {
        const std::string& name = attribute.name;
        return (name.starts_with("user.") && !support.user) ||
               (name.starts_with("system.posix_acl_") && !support.acl) ||
               (name == "security.capability" && !may_change_owner());
    });
    return node;
}

// One drill: what is chosen, given back, looked at.
class Drill {
  public:
    Drill(const DrillTask& task, OpenRepository& opened, const Clock& clock, JobContext& job,
          DrillVerdict& verdict)
        : task_(task),
          repository_(*opened.repository),
          clock_(clock),
          job_(job),
          verdict_(verdict) {}

    Result<JobOutcome> run() {
        TRY(choose_revision());
        TRY(choose_files());
        job_.message(LogLevel::info, "gives back " + plural(sample_.chosen.size(), "file") +
                                         " of " + name_of(*revision_) + " for a try");
        for (const Exception& one : sample_.damaged) lose(one.path, one.error);
        TRY(give_back());
        return conclude();
    }
    const std::optional<Revision>& revision() const { return revision_; }
    bool found_damage() const { return found_damage_; }

  private:
    Result<> choose_revision();
    Result<> choose_files();
    Result<RestoreResult> run(const RestoreRequest& request, ExceptionLog& problems);
    Result<> give_back();
    Result<> look_at_files(int scratch, bool may_lack_metadata);
    Result<> look_at_file(int scratch, const FoundNode& file, bool may_lack_metadata);
    void compare_with_live(int copy, const FoundNode& file);
    bool is_known_unchanged(const FoundNode& file, const struct stat& live) const;
    Result<JobOutcome> conclude();

    void fail(const std::string& path, Error error) {
        if (failed_.insert(path).second) job_.exceptions.add(path, std::move(error));
    }
    // What the repository does not have any more, or has damaged.
    void lose(const std::string& path, const Error& error) {
        found_damage_ = true;
        fail(path, damage(error.message()));
    }
    void hint(const std::string& path, std::string text) {
        outcome_.findings.push_back({clock_.now(), "finding", "hint", path, "", std::move(text)});
    }

    const DrillTask& task_;
    Repository& repository_;
    const Clock& clock_;
    JobContext& job_;
    DrillVerdict& verdict_;
    std::optional<Revision> revision_;
    Sample sample_;
    JobOutcome outcome_;
    std::set<std::string> failed_, untried_;
    std::vector<std::string> otherwise_on_disk_;
    bool found_damage_ = false, is_own_machine_ = false;
    std::uint64_t good_ = 0, bytes_ = 0, fetched_ = 0, compared_ = 0;
};

Result<> Drill::choose_revision() {
    job_.progress.phase = Phase::loading;
    TRY(repository_.refresh_index(job_.stop));
    const std::vector<Revision> revisions = all_revisions(TRY(repository_.list_revisions()));
    revision_ = TRY(resolve_revision(revisions, line_of(task_.set), "latest"));
    BackupSet plain;
    const Snapshot& snapshot = revision_->snapshot();
    is_own_machine_ = !task_.set.is_found && is_made_here(snapshot.tags)
                                                 .value_or(snapshot.hostname == host_of(plain) ||
                                                           snapshot.hostname == task_.set.hostname);
    return {};
}

// What could not be given back the last time is tried again, if it is still there: a sample would
// hardly come upon it.
Result<> Drill::choose_files() {
    job_.progress.phase = Phase::scanning;
    const BlobId& tree = revision_->snapshot().tree;
    std::vector<FoundNode> starts;
    const auto start_at = [&](const std::string& path) -> Result<> {
        auto found = find_node(repository_, tree, path);
        if (found.ok())
            starts.push_back(std::move(*found));
        else if (found.error().code() == ErrorCode::no_such_path || !is_damage(found.error()))
            return std::move(found).error();
        else
            lose(path, found.error());
        return {};
    };
    for (const std::string& path : task_.paths) TRY(start_at(path));
    if (task_.paths.empty()) {
        FoundNode root;
        root.path = "/";
        root.node.type = NodeType::dir;
        root.node.subtree = tree;
        starts.push_back(std::move(root));
    }
    for (const std::string& path : task_.again) {
        verdict_.tried.push_back(path);
        if (auto started = start_at(path);
            !started.ok() && started.error().code() != ErrorCode::no_such_path)
            return started;
    }
    SampleLimits limits;
    limits.files = task_.set.drill.files;
    limits.bytes = task_.set.drill.bytes;
    std::random_device seed;
    std::mt19937_64 random((std::uint64_t{seed()} << 32) ^ seed());
    sample_ = TRY(draw_sample(repository_, starts, limits, random, job_.stop));
    for (const FoundNode& file : sample_.chosen) verdict_.tried.push_back(file.path);
    return {};
}

// As root would get it back, so that this way is tried as well.
Result<RestoreResult> Drill::run(const RestoreRequest& request, ExceptionLog& problems) {
    if (!task_.written_apart)
        return run_restore(request, repository_, job_.progress, problems, job_.stop);
    return writer::run_restore_as({.uid = 0, .gids = {}, .sees_all = true}, writer::Rights::root,
                                  writer::writer_program(), request, repository_, job_.progress,
                                  problems, job_.stop);
}

Result<> Drill::give_back() {
    if (sample_.chosen.empty()) return {};
    const ScratchFolder scratch = TRY(ScratchFolder::make(task_.folder, std::to_string(job_.id)));
    struct statvfs room {};
    if (::fstatvfs(scratch.fd(), &room) == 0 &&
        room.f_bavail * room.f_frsize < sample_.bytes + kRoom)
        return Error(ErrorKind::no_space, ErrorCode::no_space,
                     "not enough room in " + printable(task_.folder) + " for a drill of " +
                         std::to_string(sample_.bytes) + " bytes");
    RestoreRequest request;
    request.revision = revision_->id();
    for (const FoundNode& file : sample_.chosen) request.paths.push_back(file.path);
    request.target_fd = scratch.fd();
    request.full_paths = true;
    request.clock = &clock_;
    request.pace = task_.pace;
    Progress apart;
    ExceptionLog problems(apart);
    const RestoreResult result = TRY(run(request, problems));
    fetched_ = result.counts.bytes_fetched;
    bool may_lack_metadata = false;
    for (const Exception& one : problems.list()) {
        if (is_damage(one.error)) {
            lose(one.path, one.error);
            continue;
        }
        // An owner that is not ours to give, an attribute that this file system does not take.
        may_lack_metadata = true;
        hint(one.path, "could not be tried here: " + one.error.message());
    }
    return look_at_files(scratch.fd(), may_lack_metadata);
}

Result<> Drill::look_at_files(int scratch, bool may_lack_metadata) {
    job_.progress.phase = Phase::verifying;
    for (const FoundNode& file : sample_.chosen) {
        if (job_.stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        if (!failed_.contains(file.path)) TRY(look_at_file(scratch, file, may_lack_metadata));
    }
    return {};
}

Result<> Drill::look_at_file(int scratch, const FoundNode& file, bool may_lack_metadata) {
    const std::size_t slash = file.path.rfind('/');
    const std::string folder = slash == 0 ? "." : file.path.substr(1, slash - 1);
    const std::string name = file.path.substr(slash + 1);
    open_how how{};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const UniqueFd directory(
        static_cast<int>(::syscall(SYS_openat2, scratch, folder.c_str(), &how, sizeof how)));
    if (!directory) {
        untried_.insert(file.path);
        hint(file.path, "could not be looked at: " +
                            Error::from_errno(errno, "open " + printable(folder)).message());
        return {};
    }
    RestoreBatch batch;
    const PlanObject object =
        batch.add_object(0, holdable(file.node, attribute_support(directory.get())));
    auto look = look_at(directory.get(), name, object, batch, repository_.blobs(),
                        ContentCheck::hash, job_.stop);
    if (!look.ok()) {
        if (look.error().kind() == ErrorKind::cancelled) return std::move(look).error();
        untried_.insert(file.path);
        hint(file.path, "could not be looked at: " + look.error().message());
        return {};
    }
    const Existing& found = look->existing;
    if (!found.is_there) {
        // What did not let it be made was told.
        untried_.insert(file.path);
        if (!may_lack_metadata) fail(file.path, damage("it was not given back"));
        return {};
    }
    if (!found.same_type || !found.same_content) {
        fail(file.path, damage("what was given back is not what the revision has"));
        return {};
    }
    if (!found.same_metadata && !may_lack_metadata) {
        fail(file.path, damage("its times, mode, owner or attributes were not given back"));
        return {};
    }
    ++good_;
    bytes_ += file.node.size;
    if (file.node.type != NodeType::file || !is_own_machine_) return {};
    const UniqueFd copy(::openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (copy) compare_with_live(copy.get(), file);
    return {};
}

bool Drill::is_known_unchanged(const FoundNode& file, const struct stat& live) const {
    if (!has_stamps_of(live, file.node)) return false;
    if (task_.tracker != nullptr) {
        const TrackingStatus tracking = task_.tracker->status(task_.set.id);
        auto mark = task_.tracker->pending(task_.set.id, file.path);
        if (!mark.ok() || *mark) return false;
        if (tracking.state == TrackingState::live && tracking.gaps == 0) return true;
    }
    const Timestamp begin = revision_->snapshot().time;
    const auto seconds = std::chrono::floor<std::chrono::seconds>(begin).time_since_epoch().count();
    return live.st_ctim.tv_sec + kSettledSeconds < seconds;
}

void Drill::compare_with_live(int copy, const FoundNode& file) {
    const UniqueFd live = open_live(file.path);
    struct stat before {
    }, after{};
    if (!live || ::fstat(live.get(), &before) != 0 || !is_known_unchanged(file, before)) return;
    const Comparison result = compare_bytes(copy, live.get(), job_.stop);
    // It may have been changed meanwhile.
    if (result == Comparison::unknown || ::fstat(live.get(), &after) != 0 ||
        !is_known_unchanged(file, after))
        return;
    ++compared_;
    if (result == Comparison::other) otherwise_on_disk_.push_back(file.path);
}

Result<JobOutcome> Drill::conclude() {
    // Before those that are whole in the repository are added.
    name_older(repository_, revision_->id(), job_, outcome_, clock_.now());
    for (const std::string& path : otherwise_on_disk_)
        if (failed_.insert(path).second)
            job_.exceptions.add(
                path, damage("the file on disk has other content than " + name_of(*revision_) +
                             ", although nothing tells that it was changed since: its size, times "
                             "and inode are the same"));
    const std::uint64_t tried = sample_.chosen.size() - untried_.size();
    if (failed_.empty() && tried == 0 && !sample_.chosen.empty())
        return Error(ErrorKind::io, "none of " + plural(sample_.chosen.size(), "file") +
                                        " could be tried here: the job's report says why");
    verdict_.is_reached = true;
    verdict_.is_random = task_.paths.empty();
    verdict_.failed.assign(failed_.begin(), failed_.end());
    outcome_.revision = revision_->id().hex();
    outcome_.counts = {{"files", good_},
                       {"bytes", bytes_},
                       {"bytes-fetched", fetched_},
                       {"compared-live", compared_},
                       {"differs-live", otherwise_on_disk_.size()},
                       {"failed", failed_.size()},
                       {"untried", untried_.size()},
                       {"passed-over", sample_.passed_over}};
    if (failed_.empty())
        job_.message(LogLevel::info,
                     plural(good_, "file") + " of " + name_of(*revision_) +
                         (good_ == 1 ? " came back as it was; " : " came back as they were; ") +
                         std::to_string(compared_) + " compared with what is on disk");
    else
        outcome_.error = damage(std::to_string(failed_.size()) + " of " +
                                plural(good_ + failed_.size(), "object") +
                                " cannot be given back as they were: the job's report lists them");
    return std::move(outcome_);
}

}  // namespace

JobBody drill_body(RepositoryPool& pool, const Clock& clock, DrillTask task,
                   std::shared_ptr<DrillVerdict> verdict) {
    auto shared = std::make_shared<DrillTask>(std::move(task));
    return [&pool, &clock, shared, verdict = std::move(verdict)](JobContext& job) {
        auto opened = pool.open(shared->set.repository);
        if (!opened.ok()) return failed(std::move(opened).error());
        Drill drill(*shared, **opened, clock, job, *verdict);
        auto ran = drill.run();
        if (!ran.ok() && is_damage(ran.error())) {
            verdict->is_reached = true;
            verdict->is_random = shared->paths.empty();
            verdict->is_all_lost = true;
            pool.report_damage(shared->set.repository, ran.error().message());
        } else if (drill.found_damage()) {
            pool.report_damage(shared->set.repository, "a drill found damage");
        }
        JobOutcome outcome = ran.ok() ? std::move(*ran) : failed(std::move(ran).error());
        if (drill.revision()) outcome.revision = drill.revision()->id().hex();
        return outcome;
    };
}

void note_drill(SetRecord& set, const JobRecord& record, const DrillVerdict& verdict) {
    if (!verdict.is_reached) return;
    const auto is_in = [](const std::vector<std::string>& list) {
        return [&list](const std::string& path) {
            return std::ranges::find(list, path) != list.end();
        };
    };
    const bool had_failed = !set.drill_failed.empty();
    std::erase_if(set.drill_failed, is_in(verdict.tried));
    for (const std::string& path : verdict.failed)
        if (!is_in(set.drill_failed)(path) && set.drill_failed.size() < kMostRemembered)
            set.drill_failed.push_back(path);
    const bool fails = verdict.is_all_lost || !verdict.failed.empty() || !set.drill_failed.empty();
    // What was named speaks for itself alone, unless it was all that had failed.
    if (!verdict.is_random && !fails && !had_failed) return;
    if (verdict.is_random) set.last_drill = *record.end;
    set.drill_result = fails ? "failed" : "ok";
    set.drill_job = record.id;
}

void remember_drill(StateStore& store, const JobRecord& record, const DrillVerdict& verdict) {
    auto set = store.set_record(record.set);
    if (!set.ok())
        return log_warning("cannot read what is known of a set: " + set.error().message());
    note_drill(*set, record, verdict);
    if (auto kept = store.put_set_record(record.set, *set); !kept.ok())
        log_warning("cannot remember the end of a drill: " + kept.error().message());
}

void clear_drills(const std::string& folder) {
    ScratchFolder::clear(folder);
}

}  // namespace backup
