// run: back up now.
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    Client* client = TRY(context.client());
    auto sets = TRY(find_sets(*client, context.args().positionals()));
    if (sets.empty()) return no_sets(*client);
    if (context.dry_run())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "run has no --dry-run: a backup changes nothing but the repository");
    if (context.args().positionals().empty()) {
        // "All sets" means those that are meant to run.
        std::vector<SetRef> enabled;
        for (const auto& set : sets)
            if (auto p = client->properties(set.object, "Set"); !p.ok() || p->flag("Enabled"))
                enabled.push_back(set);
        if (enabled.empty())
            return Error(ErrorKind::conflict, ErrorCode::conflict,
                         "every set is disabled\nname one to run it all the same: backupctl run " +
                             sets[0].id);
        sets = enabled;
    }
    TRY(client->watch_jobs());
    Dict options;
    options.set("mode", context.args().flag("--full") ? "full" : "incremental");
    options.set("trigger", "user");
    if (context.args().flag("--ignore"))
        options.set("ignore", Value(context.args().values("--ignore")));
    std::vector<std::string> jobs;
    for (const auto& set : sets) {
        auto job = client->start_backup(set.object, options);
        if (!job.ok()) {
            Error error = std::move(job).error().during("start the backup of " + set.id);
            if (jobs.empty()) return error;
            // The others run already; they are followed, and this one is told at once.
            context.warn("backupctl: " + error.message());
            FollowOptions follow;
            follow.wait = waits_for_people(context);
            ExitCode rest = TRY(follow_jobs(context, jobs, follow));
            return rest == ExitCode::done || rest == ExitCode::exceptions ? exit_code(error) : rest;
        }
        jobs.push_back(*job);
    }
    FollowOptions follow;
    follow.wait = waits_for_people(context);
    return follow_jobs(context, jobs, follow);
}

}  // namespace

Command run_command() {
    return {
        .verb = "run",
        .aliases = {"backup"},
        .summary = "back up now",
        .description =
            "Starts a backup of the named sets, or of all that are enabled. On a terminal it shows "
            "the progress "
            "and waits for the end; Ctrl-C stops watching, the backup goes on. Elsewhere it "
            "returns "
            "once the backup has started, unless --wait is given. Where a condition of the policy "
            "does not allow it now (a window, a pause, a metered network), the exit code is 75 and "
            "the backup begins by itself when it may; --ignore does not wait.",
        .positionals = {{"SET", false, true, Completion::set}},
        .options = {{.name = "--full",
                     .help = "read every file again, whatever is known about it, and tell what "
                             "differs from what an "
                             "incremental run makes of it"},
                    {.name = "--ignore",
                     .value = "COND",
                     .help = "do not wait for this condition",
                     .repeat = true,
                     .choices = {"window", "paused", "inhibited", "battery", "metered", "offline",
                                 "pressure", "power-saver", "all"}}},
        .examples = {{"backupctl run", "all sets"},
                     {"backupctl run home --ignore window", "now, whatever the time is"},
                     {"backupctl run home --wait=600",
                      "at most ten minutes, then exit 9; the job goes on"},
                     {"backupctl --json run home --wait | tail -n 1", "the result, for a script"}},
        .stream = true,
        .stream_kind = "backup",
        .run = run};
}

}  // namespace backup
