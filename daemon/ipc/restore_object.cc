#include "daemon/ipc/restore_object.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/ipc/set_object.h"
#include "daemon/jobs/last_good.h"
#include "daemon/jobs/tasks.h"
#include "daemon/restore/restore.h"

namespace backup {

struct RestoreObject::Asked {
    BackupSet set;
    std::string revision;
    RestoreTask task;

    Result<> read_options(wire::Dict dict, bool may_choose_paths) {
        wire::DictReader options(std::move(dict));
        std::string mode = options.text("on-conflict").value_or("fail");
        task.dry_run = options.boolean("dry-run").value_or(false);
        task.verify = options.boolean("verify").value_or(false);
        if (may_choose_paths) task.full_paths = options.boolean("full-paths").value_or(false);
        TRY(options.finish());
        task.on_conflict = TRY_DURING(parse_conflict_mode(mode), "on-conflict");
        return {};
    }
};

const Interface& RestoreObject::interface() {
    static Interface table("Restore");
    static bool once = [] {
        table
            .method("RestoreTo", "ssaayha{sv}", "set,revision,paths,directory,options", "o", "job",
                    Access::root, &RestoreObject::restore_to)
            .method("RestoreInPlace", "ssaaya{sv}", "set,revision,paths,options", "o", "job",
                    Access::root, &RestoreObject::restore_in_place);
        return true;
    }();
    (void)once;
    return table;
}

wire::Value RestoreObject::property(std::string_view) const {
    return "";
}

Result<> RestoreObject::restore_to(std::shared_ptr<Call> call) {
    Asked asked;
    std::string set = TRY(call->string());
    asked.set = *TRY(served_.service.find_set(set));
    asked.revision = TRY(call->string());
    asked.task.paths = TRY(call->file_names());
    asked.task.target = TRY(call->descriptor());
    wire::Dict options = TRY(call->dict());
    TRY(asked.read_options(std::move(options), true));
    struct stat status {};
    if (::fstat(asked.task.target.get(), &status) < 0)
        return Error::from_errno(errno, "look at the target directory");
    if (!S_ISDIR(status.st_mode)) return invalid_argument("directory: not a directory");
    return start(std::move(call), std::move(asked));
}

Result<> RestoreObject::restore_in_place(std::shared_ptr<Call> call) {
    Asked asked;
    std::string set = TRY(call->string());
    asked.set = *TRY(served_.service.find_set(set));
    asked.revision = TRY(call->string());
    asked.task.paths = TRY(call->file_names());
    wire::Dict options = TRY(call->dict());
    TRY(asked.read_options(std::move(options), false));
    asked.task.full_paths = true;
    asked.task.target = UniqueFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!asked.task.target) return Error::from_errno(errno, "open /");
    return start(std::move(call), std::move(asked));
}

// The revision is resolved once, here, and recorded: "latest" does not move while the job waits.
Result<> RestoreObject::start(std::shared_ptr<Call> call, Asked asked) {
    for (std::string& text : asked.task.paths) {
        Path path = TRY(Path::parse(text));
        text = path.text();
    }
    auto shared = std::make_shared<Asked>(std::move(asked));
    auto resolve = [&pool = served_.service.pool(), shared]() -> Result<FoundRevision> {
        FoundRevision found = TRY(find_revision(pool, shared->set, shared->revision));
        if (found.revision.tags.missing.empty()) return found;
        // What could not be read is not missing without a word.
        Repository& repository = *found.repository->repository;
        TRY(repository.refresh_index({}));
        for (const std::string& path : shared->task.paths) {
            auto node = find_node(repository, found.revision.snapshot().tree, path);
            if (!node.ok()) return explain_no_path(std::move(node).error(), found, path);
            shared->task.missing_below += missing_below(found.revision, path);
        }
        return found;
    };
    auto begin = [this, call, shared](Call&, FoundRevision found) {
        shared->task.repository = found.repository;
        shared->task.revision = found.revision.id();
        shared->task.name = name_of(found.revision);
        JobRequest request;
        request.kind = "restore";
        request.set = shared->set.id;
        request.repository = shared->set.repository;
        request.revision = found.revision.id().hex();
        request.uid = call->uid();
        request.body = restore_body(served_.service.clock(), std::move(shared->task));
        served_.service.jobs().start(std::move(request), answer_with_job(call));
    };
    answer_later(served_, call, std::move(resolve), std::move(begin));
    return {};
}

}  // namespace backup
