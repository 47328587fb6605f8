// Taking a restore back: what it created goes, what it replaced or removed comes back from the
// revision that was made of it before. It is a restore itself, so it can be taken back as well.
#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/jobs/restore_task.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

bool is_same(const timespec& a, const timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool is_of_type(const struct stat& status, NodeType type) {
    switch (type) {
        case NodeType::file:
            return S_ISREG(status.st_mode);
        case NodeType::dir:
            return S_ISDIR(status.st_mode);
        case NodeType::symlink:
            return S_ISLNK(status.st_mode);
        case NodeType::dev:
            return S_ISBLK(status.st_mode);
        case NodeType::chardev:
            return S_ISCHR(status.st_mode);
        case NodeType::fifo:
            return S_ISFIFO(status.st_mode);
        case NodeType::socket:
        case NodeType::irregular:
        case NodeType::unknown:
            return false;
    }
    return false;
}

// By the id that it had when it was written down: a pin gives a revision another one.
Result<Revision> find_by_id(Repository& repository, const std::string& id) {
    const auto all = all_revisions(TRY(repository.list_revisions()));
    return resolve_revision(all, SetOnHost{}, id);
}

// What a restore created and nobody has changed since.
class CreatedObjects {
  public:
    CreatedObjects(Repository& repository, const UndoTask& task, JobContext& job)
        : repository_(repository), ended_(task.ended), job_(job) {}

    Result<> add(const UndoRecord& record) {
        if (record.created.empty()) return {};
        if (record.revision.empty()) {
            for (const UndoRecord::Created& one : record.created) add_named(one.path);
            return {};
        }
        const auto revision = find_by_id(repository_, record.revision);
        if (!revision.ok() && revision.error().code() == ErrorCode::no_such_revision) {
            job_.message(LogLevel::warning,
                         "the revision that was restored is not there any more: what the restore "
                         "created is known by its names and times alone");
            for (const UndoRecord::Created& one : record.created) add_named(one.path);
            return {};
        }
        if (!revision.ok()) return Error(revision.error());
        TRY(repository_.refresh_index(job_.stop));
        const Snapshot& snapshot = revision->snapshot();
        for (const UndoRecord::Created& one : record.created) {
            if (job_.stop.stop_requested())
                return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
            auto found = find_node(repository_, snapshot.tree, one.source);
            if (!found.ok()) {
                if (found.error().code() != ErrorCode::no_such_path)
                    return std::move(found).error();
                continue;
            }
            const std::size_t slash = std::max<std::size_t>(one.path.rfind('/'), 1);
            UniqueFd parent(::open(one.path.substr(0, slash).c_str(),
                                   O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            if (!parent) continue;
            const bool is_all = TRY(add_tree(parent.get(), one.path, found->node));
            (void)is_all;
        }
        return {};
    }
    std::vector<TouchedObject> take() { return std::move(objects_); }

  private:
    void stays(const std::string& path, const char* why) {
        job_.exceptions.add(path, Error(ErrorKind::conflict, ErrorCode::conflict, why));
    }

    // Without a revision that says what is in it: by their names alone. A directory below that was
    // changed since may have been moved there with all that is in it, so it stays as a whole.
    void add_named(const std::string& path, bool is_below = false) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0) return;
        if ((is_below || !S_ISDIR(status.st_mode)) && is_changed(status))
            return stays(path, kChanged);
        objects_.push_back({path, S_ISDIR(status.st_mode)});
        if (!S_ISDIR(status.st_mode)) return;
        UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        for (const std::string& name : names_in(fd)) add_named(path + "/" + name, true);
    }

    bool is_changed(const struct stat& status) const {
        return Timestamp(std::chrono::seconds(status.st_ctim.tv_sec) +
                         std::chrono::nanoseconds(status.st_ctim.tv_nsec)) > ended_;
    }

    static std::vector<std::string> names_in(UniqueFd& fd) {
        std::vector<std::string> names;
        std::unique_ptr<DIR, int (*)(DIR*)> list(fd ? ::fdopendir(::dup(fd.get())) : nullptr,
                                                 &::closedir);
        if (!list) return names;
        while (const dirent* entry = ::readdir(list.get())) {
            const std::string_view name = entry->d_name;
            if (name != "." && name != "..") names.emplace_back(name);
        }
        return names;
    }

    // True: nothing of it stays.
    Result<bool> add_tree(int parent_fd, const std::string& path, const Node& node) {
        const std::string name = path.substr(path.rfind('/') + 1);
        struct stat status {};
        if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return true;
        if (!is_of_type(status, node.type) ||
            (S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) != node.size) ||
            (!S_ISDIR(status.st_mode) && is_changed(status))) {
            stays(path, kChanged);
            return false;
        }
        if (!S_ISDIR(status.st_mode)) {
            objects_.push_back({path, false});
            return true;
        }
        return add_directory(parent_fd, name, path, node);
    }

    Result<bool> add_directory(int parent_fd, const std::string& name, const std::string& path,
                               const Node& node) {
        if (job_.stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        UniqueFd fd(
            ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd || !node.subtree) {
            stays(path, "it cannot be looked into: it stays");
            return false;
        }
        const Bytes json = TRY(repository_.blobs().load({BlobType::tree, *node.subtree}));
        std::vector<Node> nodes = TRY(decode_tree(json));
        std::ranges::sort(nodes, {}, &Node::name);
        bool all = true;
        for (const std::string& entry : names_in(fd)) {
            const auto found = std::ranges::lower_bound(nodes, entry, {}, &Node::name);
            if (is_left_over(entry)) continue;  // goes with its directory
            if (found == nodes.end() || found->name != entry) {
                stays(path + "/" + entry, "the restore did not make it: it stays");
                all = false;
                continue;
            }
            const bool is_all = TRY(add_tree(fd.get(), path + "/" + entry, *found));
            all = all && is_all;
        }
        if (all) objects_.push_back({path, true});
        return all;
    }

    static constexpr const char* kChanged = "it was changed after the restore: it stays";

    Repository& repository_;
    const Timestamp ended_;
    JobContext& job_;
    std::vector<TouchedObject> objects_;
};

// An undo in several passes: what one has changed is not somebody else's change to the next.
class OwnChanges final : public ChangeLog {
  public:
    // `log`: may be none.
    explicit OwnChanges(ChangeLog* log) : log_(log) {}

    bool contains(std::string_view path) const {
        for (;;) {
            if (before_.contains(path)) return true;
            const std::size_t slash = path.rfind('/');
            if (slash == 0 || slash == path.npos) return false;
            path = path.substr(0, slash);
        }
    }
    void touched(const std::vector<TouchedObject>& objects) {
        for (const TouchedObject& one : objects)
            if (!one.is_directory) now_.insert(one.path);
    }
    void end_pass() { before_.merge(now_); }

    void will_create(std::string_view path, std::string_view source) override {
        now_.emplace(path);
        if (log_ != nullptr) log_->will_create(path, source);
    }
    void will_change_entries(std::string_view path, const timespec& mtime) override {
        if (log_ != nullptr) log_->will_change_entries(path, mtime);
    }
    void will_alter(std::string_view path) override {
        if (log_ != nullptr) log_->will_alter(path);
    }
    void left(std::string_view path, const timespec& mtime) override {
        if (log_ != nullptr) log_->left(path, mtime);
    }
    Result<> sync() override { return log_ != nullptr ? log_->sync() : Result<>(); }

  private:
    ChangeLog* const log_;
    std::set<std::string, std::less<>> before_, now_;  // now_: calls come one at a time
};

// Directories in which nothing happened since get their times back.
std::vector<std::pair<std::string, timespec>> times_of(const std::vector<UndoRecord>& records) {
    std::map<std::string, timespec> before, after;
    for (const UndoRecord& record : records) {  // newest first
        for (const auto& [path, mtime] : record.entries) before[path] = mtime;
        for (const auto& [path, mtime] : record.left) after.emplace(path, mtime);
    }
    std::vector<std::pair<std::string, timespec>> times;
    for (const auto& [path, mtime] : before) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) continue;
        const auto left = after.find(path);
        if (left == after.end() || is_same(left->second, status.st_mtim))
            times.emplace_back(path, mtime);
    }
    return times;
}

void add(RestoreCounts& sum, const RestoreCounts& one) {
    sum.created += one.created;
    sum.replaced += one.replaced;
    sum.unchanged += one.unchanged;
    sum.deleted += one.deleted;
    sum.set_aside += one.set_aside;
    sum.failed += one.failed;
    sum.files += one.files;
    sum.directories += one.directories;
    sum.others += one.others;
    sum.bytes += one.bytes;
    sum.bytes_fetched += one.bytes_fetched;
    sum.bytes_created += one.bytes_created;
    sum.bytes_replaced += one.bytes_replaced;
    sum.bytes_deleted += one.bytes_deleted;
    sum.space_needed = std::max(sum.space_needed, one.space_needed);
    sum.space_free = std::max(sum.space_free, one.space_free);
}

Result<JobOutcome> take_back(const UndoTask& task, const Clock& clock, JobContext& job) {
    Repository& repository = *task.place.repository->repository;
    const Precedence::Holder holder(task.place.precedence);
    UniqueFd root(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) return Error::from_errno(errno, "open /");
    UndoRecord record;
    record.job = job.id;
    record.set = task.place.set.id;
    record.repository = task.place.set.repository;
    record.repository_id = repository.config().id;
    record.target = "/";
    record.on_conflict = "replace";
    record.undoes = task.records.front().job;
    std::vector<std::string> kept;  // oldest first: what was replaced last counts
    for (const UndoRecord& one : task.records)
        kept.insert(kept.begin(), one.kept.begin(), one.kept.end());
    if (kept.size() == 1) record.revision = kept.front();  // all that this creates is in it
    std::unique_ptr<UndoLog> log;
    if (!task.dry_run) log = TRY(UndoLog::begin(task.place.undo_folder, record));

    RestoreRequest request;
    request.target_fd = root.get();
    request.target_path = "/";
    request.full_paths = true;
    request.on_conflict = ConflictMode::replace;
    request.dry_run = task.dry_run;
    request.verify = task.verify;
    request.clock = &clock;
    OwnChanges own(log.get());
    request.change_log = log ? &own : nullptr;
    request.is_ours = [&](const std::string& path) { return own.contains(path); };
    request.longest_kept = longest_kept("/");
    request.unchanged_since = task.ended;
    std::set<std::string> altered;
    CreatedObjects created(repository, task, job);
    for (const UndoRecord& one : task.records) {
        TRY(created.add(one));
        altered.insert(one.altered.begin(), one.altered.end());
    }
    request.alters = [&](const std::string& path) { return altered.contains(path); };
    request.protect = [&](const std::vector<TouchedObject>& touched) {
        if (kept.size() > 1) own.touched(touched);
        return keep_touched(task.place, "/", touched, *log, clock, job);
    };
    request.remove = created.take();
    const auto times = times_of(task.records);

    RestoreResult sum;
    const std::size_t passes = std::max<std::size_t>(kept.size(), 1);
    for (std::size_t pass = 0; pass < passes; ++pass) {
        if (kept.empty()) {
            request.only_remove = true;
        } else {
            const Revision revision =
                TRY_DURING(find_by_id(repository, kept[pass]), "what the restore replaced is gone");
            request.revision = revision.id();
        }
        if (pass + 1 == passes) request.mtimes = times;
        RestoreResult one = TRY(restore_for(task.place, request, job));
        add(sum.counts, one.counts);
        sum.steps.insert(sum.steps.end(), one.steps.begin(), one.steps.end());
        sum.cannot_hold = std::move(one.cannot_hold);
        request.remove.clear();
        own.end_pass();
    }
    JobOutcome outcome;
    outcome.counts = counts_of(sum);
    if (!kept.empty()) outcome.revision = kept.back();
    add_plan(sum, outcome, clock.now());
    return outcome;
}

}  // namespace

JobBody undo_body(const Clock& clock, UndoTask task) {
    auto shared = std::make_shared<UndoTask>(std::move(task));
    return [&clock, shared](JobContext& job) {
        auto done = take_back(*shared, clock, job);
        return done.ok() ? std::move(*done) : failed(std::move(done).error());
    };
}

}  // namespace backup
