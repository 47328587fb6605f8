// restore: give files back, to their place or into a directory.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/interrupt.h"
#include "ctl/job_words.h"
#include "ctl/resolve.h"
#include "ctl/terminal.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

// What comes from one revision in one job.
struct Batch {
    RevisionRef revision;
    std::vector<std::string> paths;
};

// REV:PATH, --revision, --at and the path itself decide where each path comes from.
Result<std::vector<Batch>> plan(Context& context, Client& client) {
    std::vector<std::string> plain;
    std::vector<std::pair<std::optional<RevisionArgument>, std::string>> wanted;
    for (const auto& word : context.args().positionals()) {
        PathArgument argument = parse_path_argument(word);
        if (argument.revision && argument.path.empty()) argument.path = "/";
        wanted.emplace_back(argument.revision, TRY(absolute_here(argument.path)));
    }
    for (auto& path : TRY(paths_of(context, {})))
        wanted.emplace_back(std::nullopt, std::move(path));
    std::vector<Batch> batches;
    // Thousands of paths usually come from one set: asked once per folder.
    std::vector<std::pair<std::string, RevisionRef>> known;
    for (const auto& [named, path] : wanted) {
        Selection selection = TRY(selection_of(context, named));
        std::string folder =
            (named ? named->text() : "") + ":" +
            (context.args().flag("--files-from") ? path.substr(0, path.rfind('/')) : path);
        auto it = std::find_if(known.begin(), known.end(),
                               [&](const auto& entry) { return entry.first == folder; });
        RevisionRef revision;
        if (it != known.end()) {
            revision = it->second;
        } else {
            revision = TRY(choose_revision(context, client, path, selection));
            known.emplace_back(folder, revision);
        }
        auto same = std::find_if(batches.begin(), batches.end(), [&](const Batch& batch) {
            return batch.revision.id == revision.id && batch.revision.set.id == revision.set.id;
        });
        if (same == batches.end()) {
            batches.push_back({revision, {}});
            same = batches.end() - 1;
        }
        if (std::find(same->paths.begin(), same->paths.end(), path) == same->paths.end())
            same->paths.push_back(path);
    }
    // "/" means all of it, which is what no path says.
    for (auto& batch : batches)
        if (std::find(batch.paths.begin(), batch.paths.end(), "/") != batch.paths.end())
            batch.paths.clear();
    return batches;
}

// The directory that a restore goes to. One that was made for it, and for a dry run the empty one
// that stands in, goes with this if nothing came into it; unless a job may still write there.
struct Target {
    std::string path;  // as given; empty: in place
    UniqueFd fd;
    std::string made;  // by us
    bool is_stand_in = false;
    bool is_root = false;  // in place, through a descriptor of ours

    Target() = default;
    Target(Target&& other) noexcept
        : path(std::move(other.path)),
          fd(std::move(other.fd)),
          made(std::exchange(other.made, {})),
          is_stand_in(other.is_stand_in),
          is_root(other.is_root) {}
    Target& operator=(Target&&) = delete;
    ~Target() {
        if (!made.empty()) ::rmdir(made.c_str());  // not if there is anything in it
    }
    void keep() {
        if (!is_stand_in) made.clear();
    }
};

Result<UniqueFd> open_directory(const std::string& directory) {
    UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open " + printable(directory));
    return fd;
}

Result<Target> open_target(const Context& context, const Client& client) {
    Target target;
    target.path = context.args().value_or("--to", "");
    // The machine's daemon writes into what we can open, with our rights.
    const bool as_root = context.args().flag("--as-root");
    target.is_root = target.path.empty() && client.on_system_bus() && ::geteuid() != 0 && !as_root;
    if (target.is_root) target.fd = TRY(open_directory("/"));
    if (target.path.empty()) return target;
    struct stat status {};
    bool exists = ::stat(target.path.c_str(), &status) == 0;
    if (!exists && context.dry_run()) {
        const char* place = std::getenv("TMPDIR");
        std::string name =
            std::string(place == nullptr || *place == '\0' ? "/tmp" : place) + "/backupctl-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr)
            return Error::from_errno(errno, "make a temporary directory");
        target.made = name;
        target.is_stand_in = true;
        target.fd = TRY(open_directory(name));
        return target;
    }
    if (!exists) {
        if (::mkdir(target.path.c_str(), 0700) != 0)
            return Error::from_errno(errno, "create " + printable(target.path));
        target.made = target.path;
    }
    target.fd = TRY(open_directory(target.path));
    if (!as_root && ::faccessat(target.fd.get(), ".", W_OK | X_OK, AT_EACCESS) != 0)
        return Error::from_errno(errno, "write into " + printable(target.path));
    return target;
}

std::string conflict_help(bool in_place) {
    std::string text =
        "Nothing was written, for these exist already and differ. Choose what to do with them:\n"
        "  --on-conflict keep-both   write the old version beside each, under another name\n"
        "  --on-conflict skip        restore only what is missing\n"
        "  --on-conflict newer       replace only what is older than the backup\n"
        "  --on-conflict replace     replace them all";
    if (in_place) text += "\n  --to DIR                  restore into another directory";
    return text;
}

JsonObject plan_object(const Context& context, const Batch& batch, const std::string& target) {
    JsonObject object = context.object("restore");
    object.add("revision", revision_object(context, batch.revision));
    std::vector<JsonObject> paths;
    for (const auto& path : batch.paths) paths.push_back(JsonObject().add_bytes("path", path));
    object.add("paths", paths);
    if (target.empty())
        object.add_null("to");
    else
        object.add_bytes("to", target);
    return object.add("dry_run", context.dry_run());
}

std::string what_of(const Batch& batch) {
    if (batch.paths.empty()) return "everything";
    if (batch.paths.size() == 1) return printable(batch.paths[0]);
    return count_text(batch.paths.size(), "path", "paths");
}

Result<std::vector<std::string>> start(Context& context, Client& client,
                                       const std::vector<Batch>& batches, const Target& target,
                                       const std::string& mode, bool plans_only) {
    Dict options;
    options.set("on-conflict", Value(mode));
    if (plans_only) options.set("dry-run", Value(true));
    if (context.args().flag("--delete")) options.set("delete", Value(true));
    if (context.args().flag("--verify")) options.set("verify", Value(true));
    if (context.args().flag("--as-root")) options.set("as-root", Value(true));
    if (context.args().flag("--full-paths") || target.is_root)
        options.set("full-paths", Value(true));
    std::vector<std::string> jobs;
    for (const auto& batch : batches) {
        if (context.json())
            context.print(plan_object(context, batch, target.path));
        else if (plans_only == context.dry_run())
            context.sentence("Restoring " + what_of(batch) + " from " +
                             describe(batch.revision, context.note_looks()) +
                             (target.path.empty() ? "" : " to " + printable(target.path)) +
                             (context.dry_run() ? " (dry run)" : ""));
        auto job = client.restore(batch.revision.set.id, batch.revision.id, batch.paths,
                                  target.fd.get(), options);
        if (!job.ok() && batch.paths.size() == 1)
            return with_history_hint(std::move(job).error(), batch.paths[0]);
        jobs.push_back(TRY(std::move(job)));
    }
    return jobs;
}

// What would be done, job by job, in a few lines; whether anything that exists is touched.
Result<bool> preview(Context& context, Client& client, const std::vector<std::string>& jobs) {
    bool touches = false;
    InterruptGuard interrupt;
    for (const std::string& job : jobs) {
        TRY(client.follow(job));
        while (!client.view(job).ended())
            if (client.wait(std::chrono::milliseconds(1000), interrupt.fd()) ==
                WaitEnd::interrupted)
                return Error(ErrorKind::cancelled, ErrorCode::none, "stopped waiting");
        const JobView& view = client.view(job);
        if (view.result != "complete" && view.result != "exceptions") return error_of(view);
        const Looks& looks = context.note_looks();
        std::string text = "Would do: " + counts_sentence("restore", view.details, looks);
        for (const char* key : {"bytes-replaced", "bytes-deleted"})
            if (view.details.number(key) > 0)
                text += "; " + size_text(view.details.number(key), looks) +
                        (key == std::string("bytes-replaced") ? " give way" : " are removed");
        context.sentence(text);
        touches |= view.details.number("replaced") > 0 || view.details.number("deleted") > 0;
    }
    return touches;
}

// What existed is not what it was: how to have it back.
void tell_undo(Context& context, const Client& client, const std::vector<std::string>& jobs) {
    for (const std::string& job : jobs) {
        const JobView& view = client.view(job);
        const bool has_touched =
            view.details.number("replaced") > 0 || view.details.number("deleted") > 0;
        if (view.finished && has_touched && !context.json())
            context.note((client.on_system_bus() && ::geteuid() != 0
                              ? "an administrator can take it back: backupctl undo "
                              : "take it back: backupctl undo ") +
                         std::to_string(view.id));
    }
}

// The latest revision does not have what was deleted before it.
void hint_at_history(Context& context, const std::vector<Batch>& batches) {
    if (context.json() || batches.empty() || batches[0].paths.size() != 1) return;
    context.note("  " + history_hint(batches[0].paths[0]));
}

char ask_conflict() {
    return ask_letter(
        "Now [k]eep both, [s]kip these, replace [o]lder ones, [r]eplace all, or [a]bort?", "aksor");
}

// Or may still write: the job goes on without us.
bool may_have_written(ExitCode code) {
    return code == ExitCode::done || code == ExitCode::exceptions ||
           code == ExitCode::interrupted || code == ExitCode::wait_timed_out;
}

Result<ExitCode> run(Context& context) {
    const Arguments& args = context.args();
    bool in_place = !args.flag("--to");
    if (args.positionals().empty() && !args.flag("--files-from"))
        return usage("restore needs at least one PATH, or --files-from FILE");
    if (in_place && args.flag("--full-paths")) return usage("--full-paths belongs to --to DIR");
    if (!in_place && args.value_or("--to", "").empty()) return usage("--to needs a directory");
    std::string mode = args.value_or("--on-conflict", "fail");
    Client* client = TRY(context.client());
    auto batches = TRY(plan(context, *client));
    std::vector<SetRef> sets;
    for (const auto& batch : batches) sets.push_back(batch.revision.set);
    warn_of_damage(context, *client, sets);
    const bool touches = mode == "replace" || mode == "newer" || args.flag("--delete");
    const bool asks = touches && !context.dry_run() && !context.yes();
    const std::string question =
        "Go on? What is there now is kept first, so that `backupctl undo` gives it back.";
    if (asks && !context.interactive()) TRY(context.confirm(question));
    TRY(client->watch_jobs());
    FollowOptions follow;
    follow.is_plan = context.dry_run();
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    if (!context.interactive() || args.flag("--on-conflict"))
        follow.conflict_help = conflict_help(in_place);
    Target target = TRY(open_target(context, *client));
    if (!target.path.empty()) follow.target = TRY(absolute_here(target.path));
    if (follow.target == "/") follow.target.clear();
    auto carry_out = [&]() -> Result<ExitCode> {
        if (batches.size() > 1) target.keep();  // one may run when another cannot begin
        auto jobs = TRY(start(context, *client, batches, target, mode, context.dry_run()));
        auto ended = follow_jobs(context, jobs, follow);
        if (ended.ok() && !context.dry_run()) tell_undo(context, *client, jobs);
        if (ended.ok() && *ended == ExitCode::not_found) hint_at_history(context, batches);
        if (!follow.wait || !ended.ok() || may_have_written(*ended)) target.keep();
        return ended;
    };
    if (asks) {
        auto plans = TRY(start(context, *client, batches, target, mode, true));
        if (TRY(preview(context, *client, plans))) TRY(context.confirm(question));
    }
    ExitCode code = TRY(carry_out());
    bool ask = code == ExitCode::refused && mode == "fail" && context.interactive() &&
               !context.dry_run() && !args.flag("--on-conflict");
    if (!ask) return code;
    // Nothing was written yet; a person may choose now rather than type it all again.
    switch (ask_conflict()) {
        case 'k':
            mode = "keep-both";
            break;
        case 's':
            mode = "skip";
            break;
        case 'o':
            mode = "newer";
            break;
        case 'r':
            mode = "replace";
            break;
        default:
            return code;
    }
    return carry_out();
}

}  // namespace

Command restore_command() {
    return {
        .verb = "restore",
        .summary = "give files back, to their place or into a directory",
        .description =
            "Without --to, files return to where they were. What exists and differs is a conflict: "
            "by default one conflict "
            "means that nothing at all is written (exit 7) and all conflicts are listed. Files are "
            "written beside, "
            "checked, then renamed: whatever happens, a path holds either the old or the new "
            "content. Modes that replace files, and --delete, show what they would do and ask "
            "first; "
            "without a terminal they want --yes. What they replace or remove is kept for 30 days, "
            "and `undo` gives it back. --delete leaves what the set does not back up. "
            "The revision used is always told.",
        .positionals = {{"[REV:]PATH", true, true, Completion::file}},
        .options =
            {{.name = "--at",
              .value = "TIME",
              .help = "as it was then (yesterday, \"2 hours ago\", 2026-11-20)"},
             {.name = "--revision",
              .value = "REV",
              .help = "the revision; also one made by another program",
              .completion = Completion::revision},
             {.name = "--set", .value = "SET", .help = "the set", .completion = Completion::set},
             {.name = "--host", .value = "HOST", .help = "the latest from this machine"},
             {.name = "--to",
              .value = "DIR",
              .help = "into this directory; made when missing",
              .completion = Completion::directory},
             {.name = "--on-conflict",
              .value = "MODE",
              .help = "what to do with files that exist and differ",
              .choices = {"fail", "keep-both", "skip", "newer", "replace"}},
             {.name = "--delete",
              .help = "remove what the revision does not have, below the paths; asks first"},
             {.name = "--verify", .help = "read back what was written and compare"},
             {.name = "--full-paths", .help = "with --to: keep the whole path below DIR"},
             kAllUsers,
             kAsRoot},
        .examples = {{"backupctl restore ~/Documents/letter.odt",
                      "the latest version of a file that is gone"},
                     {"backupctl restore ~/Documents --at yesterday --to /tmp/old",
                      "a folder as it was, elsewhere"},
                     {"backupctl restore -n --on-conflict replace ~/project", "what would be done"},
                     {"backupctl restore --on-conflict replace --delete ~/project --at yesterday",
                      "a folder exactly as it was"},
                     {"find . -name '*.jpg' -print0 | backupctl restore -0 --files-from -",
                      "many paths, in any bytes"}},
        .stream = true,
        .stream_kind = "restore",
        .run = run};
}

}  // namespace backup
