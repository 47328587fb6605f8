// undo, resume: restores that are over, or should have been.
#include "ctl/commands/commands.h"
#include "ctl/commands/job_argument.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/interrupt.h"
#include "ctl/job_words.h"

namespace backup {

namespace {

// What would be taken back, in a line.
Result<> preview(Context& context, Client& client, std::uint64_t id) {
    Dict options;
    options.set("dry-run", Value(true));
    const std::string job = TRY(client.undo(id, options));
    TRY(client.follow(job));
    InterruptGuard interrupt;
    while (!client.view(job).ended())
        if (client.wait(std::chrono::milliseconds(1000), interrupt.fd()) == WaitEnd::interrupted)
            return Error(ErrorKind::cancelled, ErrorCode::none, "stopped waiting");
    const JobView& view = client.view(job);
    if (view.result != "complete" && view.result != "exceptions") return error_of(view);
    context.sentence("Would do: " + counts_sentence("restore", view.details, context.note_looks()) +
                     (view.errors > 0 ? "; " + count_text(view.errors, "object", "objects") +
                                            " changed since and stay as they are"
                                      : ""));
    return {};
}

Result<ExitCode> undo(Context& context) {
    const std::uint64_t id = TRY(parse_job_id(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    const std::string question = "Take back what job " + std::to_string(id) + " restored?";
    const bool asks = !context.dry_run() && !context.yes();
    if (asks && !context.interactive()) TRY(context.confirm(question));
    TRY(client->watch_jobs());
    if (asks) {
        TRY(preview(context, *client, id));
        TRY(context.confirm(question));
    }
    Dict options;
    if (context.dry_run()) options.set("dry-run", Value(true));
    if (context.args().flag("--verify")) options.set("verify", Value(true));
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    follow.is_plan = context.dry_run();
    return follow_jobs(context, {TRY(client->undo(id, options))}, follow);
}

// Uploads go on after a pause.
Result<ExitCode> resume_uploads(Context& context) {
    Client* client = TRY(context.client());
    const bool was_paused = TRY(client->manager()).number("PausedUntilUSec") != 0;
    if (!context.dry_run()) TRY(client->resume());
    if (context.json())
        context.print(context.object("result")
                          .add("kind", "pause")
                          .add("outcome", "complete")
                          .add("was_paused", was_paused)
                          .add("exit_code", 0));
    else
        context.note(!was_paused         ? "Uploads were not paused."
                     : context.dry_run() ? "Uploads would go on."
                                         : "Uploads go on.");
    return ExitCode::done;
}

Result<ExitCode> resume(Context& context) {
    if (context.args().positionals().empty()) return resume_uploads(context);
    const std::uint64_t id = TRY(parse_job_id(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    TRY(client->watch_jobs());
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    Dict options;
    if (context.args().flag("--as-root")) options.set("as-root", Value(true));
    return follow_jobs(context, {TRY(client->resume_restore(id, options))}, follow);
}

}  // namespace

Command undo_command() {
    return {
        .verb = "undo",
        .summary = "take back what a restore changed",
        .description =
            "What the restore created goes, what it replaced or removed comes back with content "
            "and metadata. What was changed after the restore is left as it is and listed "
            "(exit 3). An undo can be undone. Possible for 30 days.",
        .positionals = {{"JOB", true, false, Completion::job}},
        .options = {{.name = "--verify", .help = "read back what was written and compare"}},
        .examples = {{"backupctl undo 12", "as it was before job 12"},
                     {"backupctl undo -n 12", "what that would do"}},
        .stream = true,
        .stream_kind = "restore",
        .run = undo};
}

Command resume_command() {
    return {
        .verb = "resume",
        .summary = "let uploads go on after a pause, or go on with a restore",
        .description =
            "Alone it ends a pause. With a job it goes on with a restore that was interrupted: it "
            "makes the same request once more. What is in place already, and of large files "
            "what was written already, is not fetched again. One that ended with the daemon "
            "goes on by itself, a minute after the daemon is back.",
        .positionals = {{"JOB", false, false, Completion::job}},
        .options = {kAllUsers, kAsRoot},
        .examples = {{"backupctl resume", "after backupctl pause"},
                     {"backupctl resume 12", "a restore, after a crash or a cancel"}},
        .stream = true,
        .stream_kind = "restore",
        .run = resume};
}

}  // namespace backup
