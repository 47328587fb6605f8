#include "daemon/ipc/restore_object.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/ipc/live_facts.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/last_good.h"
#include "daemon/jobs/tasks.h"
#include "daemon/policy/exclusion.h"
#include "daemon/policy/matcher.h"
#include "daemon/restore/restore.h"
#include "daemon/runtime/fs.h"

namespace backup {

namespace {

// What the revision did not take in. What cannot be read could leave out anything, and then
// nothing can be removed by it.
Result<Matcher> left_out_by(const Revision& revision) {
    std::vector<std::string> patterns;
    for (const std::string& pattern : revision.snapshot().excludes) {
        if (auto one = Matcher::compile({pattern}); !one.ok())
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         name_of(revision) + " was made without what matches '" +
                             printable(pattern) + "', which cannot be read here (" +
                             one.error().message() +
                             "): nothing can be removed by it, restore without --delete");
        patterns.push_back(pattern);
        // Other programs look for such a one anywhere, not only at the root.
        const bool is_ours = !revision.tags.set.empty() || is_pre_restore(revision);
        if (!is_ours && !pattern.starts_with('/') && !pattern.starts_with('!'))
            patterns.push_back("**/" + pattern);
    }
    return Matcher::compile(patterns);
}

// What a removal asks of each object that the revision does not have.
class Spared {
  public:
    static Result<std::shared_ptr<Spared>> make(const FoundRevision& found, const BackupSet& set,
                                                std::vector<Path> own, bool in_place) {
        if (found.revision.tags.more_missing)
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "not all that could not be read when " + name_of(found.revision) +
                             " was made is known by name: nothing can be removed by it");
        auto spared = std::shared_ptr<Spared>(new Spared);
        spared->now_ = TRY(Matcher::compile(set.exclude.patterns));
        spared->then_ = TRY(left_out_by(found.revision));
        spared->set_ = set;
        spared->own_ = std::move(own);
        spared->missing_ = found.revision;
        spared->in_place_ = in_place;
        return spared;
    }

    // Not backed up, not readable then, or ours.
    bool operator()(const std::string& source, const std::string& path, bool is_directory) const {
        const auto live = Path::parse(path), there = Path::parse(source);
        if (!live.ok() || !there.ok() || is_missing(*missing_, source)) return true;
        for (const Path& own : own_)
            if (live->is_inside(own)) return true;
        if (now_.excludes(source, there->name(), is_directory) ||
            then_.excludes(source, there->name(), is_directory))
            return true;
        if (!in_place_) return false;
        Fs& fs = RealFs::instance();
        auto place = find_in_set(set_, *live, own_, [&](const std::string& name) {
            return live_facts(fs, name, set_.exclude.cachedir_tag);
        });
        return !place.ok() || !place->root || place->excluded;
    }

  private:
    Spared() = default;
    Matcher now_, then_;
    BackupSet set_;
    std::vector<Path> own_;
    std::optional<Revision> missing_;
    bool in_place_ = false;
};

constexpr std::size_t kMostResumed = 32;

// Whoever asks for what he may not have is told at once, not by a job.
Result<> may_have(const FoundRevision& found, const std::vector<std::string>& paths,
                  const AccessRule& rule) {
    TRY(found.repository->repository->refresh_index({}));
    for (const std::string& path : paths) {
        const FoundNode node = TRY(find_path(found, path, rule));
        TRY(may_open(node, rule));
    }
    return {};
}

}  // namespace

struct RestoreObject::Asked {
    std::string revision;
    RestoreTask task;
    bool in_place = false;

    void take_caller(const Caller& caller, bool as_root, bool on_system_bus) {
        task.place.caller = caller;
        task.place.as_root = as_root;
        // A person's own daemon has his rights itself.
        if (on_system_bus)
            task.place.written_with =
                caller.uid == 0 || as_root ? writer::Rights::root : writer::Rights::caller;
    }
    Result<> read_options(const Call& call, wire::DictReader options, bool may_choose_paths) {
        std::string mode = options.text("on-conflict").value_or("fail");
        task.dry_run = options.boolean("dry-run").value_or(false);
        task.verify = options.boolean("verify").value_or(false);
        task.delete_others = options.boolean("delete").value_or(false);
        if (may_choose_paths) task.full_paths = options.boolean("full-paths").value_or(false);
        const bool as_root = options.boolean("as-root").value_or(false);
        TRY(options.finish());
        if (as_root && !call.as_root())
            return Error(ErrorKind::invalid, ErrorCode::unsupported,
                         "as-root: an instance of a user writes with that user's rights only");
        task.on_conflict = TRY_DURING(parse_conflict_mode(mode), "on-conflict");
        return {};
    }
};

const Interface& RestoreObject::interface() {
    static Interface table("Restore");
    static bool once = [] {
        table
            .method("RestoreTo", "ssaayha{sv}", "set,revision,paths,directory,options", "o", "job",
                    Access::restore, &RestoreObject::restore_to)
            .method("RestoreInPlace", "ssaaya{sv}", "set,revision,paths,options", "o", "job",
                    Access::restore, &RestoreObject::restore_in_place)
            .method("Undo", "ta{sv}", "restore,options", "o", "job", Access::root,
                    &RestoreObject::undo)
            .method("Resume", "ta{sv}", "restore,options", "o", "job", Access::restore,
                    &RestoreObject::resume);
        return true;
    }();
    (void)once;
    return table;
}

RestoreObject::RestoreObject(Served& served)
    : served_(served),
      outranking_(std::make_shared<Allowance>(kMostOutranking, kOutrankingPart,
                                              served.service.clock().monotonic())),
      going_on_(served.service.loop().timer([this] { go_on(); })) {}

wire::Value RestoreObject::property(std::string_view) const {
    return "";
}

Result<> RestoreObject::restore_to(std::shared_ptr<Call> call) {
    Asked asked;
    asked.take_caller(call->caller(), call->as_root(), served_.on_system_bus());
    std::string set = TRY(call->string());
    asked.task.place.set = *TRY(served_.service.find_set(set));
    asked.revision = TRY(call->string());
    asked.task.paths = TRY(call->file_names());
    TRY(check_count(*call, asked.task.paths));
    asked.task.target = TRY(call->descriptor());
    wire::DictReader options = TRY(call->options());
    TRY(asked.read_options(*call, std::move(options), true));
    // Without asking the file system, which may be one that the caller serves.
    struct statx status {};
    if (::statx(asked.task.target.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                STATX_TYPE | STATX_INO, &status) < 0)
        return Error::from_errno(errno, "look at the target directory");
    if (!S_ISDIR(status.stx_mode)) return invalid_argument("directory: not a directory");
    struct statx root {};
    asked.in_place = asked.task.full_paths &&
                     ::statx(AT_FDCWD, "/", AT_STATX_DONT_SYNC, STATX_INO, &root) == 0 &&
                     root.stx_ino == status.stx_ino && root.stx_dev_major == status.stx_dev_major &&
                     root.stx_dev_minor == status.stx_dev_minor;
    return start(std::move(asked), answer_with_job(call));
}

Result<> RestoreObject::restore_in_place(std::shared_ptr<Call> call) {
    Asked asked;
    asked.take_caller(call->caller(), call->as_root(), served_.on_system_bus());
    std::string set = TRY(call->string());
    asked.task.place.set = *TRY(served_.service.find_set(set));
    asked.revision = TRY(call->string());
    asked.task.paths = TRY(call->file_names());
    TRY(check_count(*call, asked.task.paths));
    wire::DictReader options = TRY(call->options());
    TRY(asked.read_options(*call, std::move(options), false));
    asked.task.full_paths = true;
    asked.in_place = true;
    asked.task.target = UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!asked.task.target) return Error::from_errno(errno, "open /");
    asked.task.target_path = "/";
    return start(std::move(asked), answer_with_job(call));
}

// The revision is resolved once, here, and recorded: "latest" does not move while the job waits.
Result<> RestoreObject::start(Asked asked, Started started) {
    for (std::string& text : asked.task.paths) {
        Path path = TRY(Path::parse(text));
        text = path.text();
    }
    asked.task.place.policy = served_.service.shared_policy();
    asked.task.place.undo_folder = served_.service.undo_folder();
    asked.task.place.precedence = &served_.service.precedence();
    auto shared = std::make_shared<Asked>(std::move(asked));
    auto resolve = [&pool = served_.service.pool(), shared,
                    own = own_places(*served_.service.shared_policy(),
                                     served_.service.state_dir())]() -> Result<FoundRevision> {
        RestoreTask& task = shared->task;
        const AccessRule rule = rule_for(task.place.caller);
        FoundRevision found = TRY(find_revision(pool, task.place.set, shared->revision, rule));
        if (!rule.sees_all()) TRY(may_have(found, task.paths, rule));
        if (task.delete_others) {
            auto spared = TRY(Spared::make(found, task.place.set, own, shared->in_place));
            task.spares = [spared](const std::string& source, const std::string& path,
                                   bool is_directory) {
                return (*spared)(source, path, is_directory);
            };
        }
        if (found.revision.tags.missing.empty() || !rule.sees_all()) return found;
        // What could not be read is not missing without a word.
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index({}));
        for (const std::string& path : task.paths) {
            auto node = find_node(repository, found.revision.snapshot().tree, path);
            if (!node.ok()) return explain_no_path(std::move(node).error(), found, path);
            task.missing_below += missing_below(found.revision, path);
        }
        return found;
    };
    auto begin = [this, started = std::move(started), shared](Result<FoundRevision> found) {
        if (!found.ok()) return started(std::move(found).error());
        RestoreTask& task = shared->task;
        // From here on, so that many requests at once are no more than one after the other.
        Places::Permit permit;
        if (task.place.written_with == writer::Rights::caller) {
            auto taken = running_.take(task.place.caller.uid);
            if (!taken.ok()) return started(taken.error());
            permit = std::move(*taken);
            task.place.precedence_allowed = outranking_;
        }
        task.place.repository = found->repository;
        task.revision = found->revision.id();
        task.name = name_of(found->revision, found->asked);
        task.place.pace = served_.service.rates().gate(Rates::Way::down, task.place.set.id);
        JobRequest request = restore_request(task.place, task.place.caller.uid);
        request.revision = found->revision.id().hex();
        if (task.dry_run) request.mode = "dry-run";
        if (task.resumes != 0) {
            request.trigger = "resume";
            request.unique = "resume:" + std::to_string(task.resumes);
        }
        request.body = [permit, body = restore_body(served_.service.clock(), std::move(task))](
                           JobContext& job) { return body(job); };
        served_.service.jobs().start(std::move(request), started);
    };
    served_.service.io().run(std::move(resolve), std::move(begin));
    return {};
}

JobRequest RestoreObject::restore_request(const RestorePlace& place, std::uint32_t uid) {
    JobRequest request;
    request.kind = "restore";
    request.set = place.set.id;
    request.repository = place.set.repository;
    request.uid = uid;
    return request;
}

Result<const Job*> RestoreObject::ended_restore(std::uint64_t id) const {
    const Job* job = served_.service.jobs().find(id);
    if (job != nullptr && !job->is_done())
        return Error(ErrorKind::conflict, ErrorCode::busy,
                     "job " + std::to_string(id) + " still runs: `backupctl cancel " +
                         std::to_string(id) + "` first");
    return job;
}

// The set may be configured otherwise by now, or not at all: what the restore wrote down counts.
Result<BackupSet> RestoreObject::set_of(const UndoRecord& record) const {
    auto found = served_.service.find_set(record.set);
    BackupSet set;
    if (found.ok()) set = **found;
    set.id = record.set;
    set.repository = record.repository;
    return set;
}

Result<> RestoreObject::undo(std::shared_ptr<Call> call) {
    const std::uint64_t id = TRY(call->u64());
    wire::DictReader options(TRY(call->dict()));
    const bool dry_run = options.boolean("dry-run").value_or(false);
    const bool verify = options.boolean("verify").value_or(false);
    TRY(options.finish());
    TRY(ended_restore(id));
    undo_job(id, dry_run, verify, call->uid(), answer_with_job(call));
    return {};
}

void RestoreObject::undo_job(std::uint64_t id, bool dry_run, bool verify, std::uint32_t uid,
                             Started started) {
    auto shared = std::make_shared<UndoTask>();
    shared->dry_run = dry_run;
    shared->verify = verify;
    shared->place.undo_folder = served_.service.undo_folder();
    shared->place.precedence = &served_.service.precedence();
    shared->place.policy = served_.service.shared_policy();
    if (served_.on_system_bus()) shared->place.written_with = writer::Rights::root;
    auto read = [&store = served_.service.store(), &pool = served_.service.pool(), shared,
                 id]() -> Result<> {
        const auto job = TRY(store.job(id));
        for (std::uint64_t next = id; next != 0 && shared->records.size() < kMostResumed;) {
            shared->records.push_back(TRY(read_undo(shared->place.undo_folder, next)));
            next = shared->records.back().resumes;
        }
        if (!job || !job->end)
            return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                         "there is no record of the end of job " + std::to_string(id));
        // What came in the place of a file system would be filled with what was on it.
        for (const UndoRecord& record : shared->records) TRY(check_volumes(record));
        shared->ended = *job->end;
        shared->place.repository = TRY(pool.open(shared->records.front().repository));
        return {};
    };
    auto begin = [this, started = std::move(started), shared, id, uid](Result<> done) {
        if (!done.ok()) return started(std::move(done).error());
        auto set = set_of(shared->records.front());
        if (!set.ok()) return started(std::move(set).error());
        shared->place.set = std::move(*set);
        JobRequest request = restore_request(shared->place, uid);
        request.mode = shared->dry_run ? "dry-run" : "undo";
        if (!shared->dry_run) request.unique = "undo:" + std::to_string(id);
        request.body = undo_body(served_.service.clock(), std::move(*shared));
        served_.service.jobs().start(std::move(request), started);
    };
    served_.service.io().run(std::move(read), std::move(begin));
}

Result<> RestoreObject::resume(std::shared_ptr<Call> call) {
    const std::uint64_t id = TRY(call->u64());
    wire::DictReader options = TRY(call->options());
    (void)options.boolean("as-root");  // what was asked for then counts
    TRY(options.finish());
    TRY(ended_restore(id));
    resume_job(id, Resumer{call->caller(), call->as_root()}, answer_with_job(call));
    return {};
}

// The same request once more: what is right already is found and not fetched again.
void RestoreObject::resume_job(std::uint64_t id, std::optional<Resumer> resumer, Started started) {
    struct Begun {
        UndoRecord record;
        Caller caller;
    };
    auto read = [&store = served_.service.store(), folder = served_.service.undo_folder(), id,
                 resumer = std::move(resumer),
                 on_system_bus = served_.on_system_bus()]() -> Result<Begun> {
        const auto job = TRY(store.job(id));
        const bool is_his = resumer && (!job || job->uid == resumer->caller.uid);
        if (resumer && !resumer->as_root && !is_his)
            return Error(ErrorKind::denied, ErrorCode::access_denied,
                         "job " + std::to_string(id) + " is not yours to go on with");
        UndoRecord record = TRY(read_undo(folder, id));
        if (record.undoes != 0)
            return Error(ErrorKind::invalid, ErrorCode::unsupported,
                         "job " + std::to_string(id) + " took back job " +
                             std::to_string(record.undoes) + ": go on with `backupctl undo " +
                             std::to_string(record.undoes) + "`");
        if (job && job->outcome == "complete")
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "job " + std::to_string(id) + " is complete: nothing is left to do");
        // What he was let do once he is let do again, or not.
        if (resumer && !resumer->as_root && on_system_bus &&
            (record.as_root || (record.all && !resumer->caller.sees_all)))
            return Error(ErrorKind::denied, ErrorCode::access_denied,
                         "job " + std::to_string(id) +
                             " was begun with an administrator's consent: go on with " +
                             (record.as_root ? "--as-root" : "--all-users"));
        TRY(check_volumes(record));
        // It goes on with the rights of whoever began it, and shows what it showed.
        Caller caller{.uid = job ? job->uid : 0, .gids = {}, .sees_all = true};
        if (!on_system_bus) return Begun{std::move(record), caller};
        if (is_his) caller = resumer->caller;
        if (!is_his && caller.uid != 0) caller = caller_of(caller.uid);
        caller.sees_all = caller.uid == 0 || record.all || record.as_root;
        return Begun{std::move(record), std::move(caller)};
    };
    auto begin = [this, started = std::move(started)](Result<Begun> begun) {
        if (!begun.ok()) return started(std::move(begun).error());
        auto done = resume_from(begun->record, begun->caller, started);
        if (!done.ok()) started(std::move(done).error());
    };
    served_.service.io().run(std::move(read), std::move(begin));
}

Result<> RestoreObject::resume_from(const UndoRecord& record, const Caller& caller,
                                    const Started& started) {
    Asked asked;
    asked.take_caller(caller, record.as_root || caller.uid == 0, served_.on_system_bus());
    asked.task.place.set = TRY(set_of(record));
    asked.revision = record.revision;
    asked.task.paths = record.paths;
    asked.task.full_paths = record.full_paths;
    asked.task.verify = record.verify;
    asked.task.delete_others = record.delete_others;
    asked.task.resumes = record.job;
    asked.in_place = record.target == "/";
    asked.task.on_conflict = TRY(parse_conflict_mode(record.on_conflict));
    // Whoever writes finds it again with his own rights, or does not.
    asked.task.target_path = record.target;
    if (asked.task.place.written_with == writer::Rights::caller) {
        asked.task.target = UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!asked.task.target) return Error::from_errno(errno, "open /");
        return start(std::move(asked), started);
    }
    // The path had no links then: one that has them now leads where nobody asked for.
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    asked.task.target = UniqueFd(static_cast<int>(
        ::syscall(SYS_openat2, AT_FDCWD, record.target.c_str(), &how, sizeof how)));
    if (!asked.task.target)
        return Error::from_errno(errno, "open " + printable(record.target))
            .with_code(ErrorCode::no_such_path);
    return start(std::move(asked), started);
}

}  // namespace backup
