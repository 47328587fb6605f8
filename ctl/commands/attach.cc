// attach: follow a job that runs, or hear how it ended.
#include "ctl/commands/commands.h"
#include "ctl/commands/job_argument.h"
#include "ctl/context.h"
#include "ctl/follow.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    std::uint64_t id = TRY(parse_job_id(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    TRY(client->watch_jobs());
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    return follow_jobs(context, {Client::job_object(id)}, follow);
}

}  // namespace

Command attach_command() {
    return {.verb = "attach",
            .summary = "follow a job to its end",
            .description =
                "Shows the progress of a job and ends with its exit code. Ctrl-C stops watching, "
                "the job goes on.",
            .positionals = {{"ID", true, false, Completion::job}},
            .examples = {{"backupctl attach 12", "watch job 12"}},
            .stream = true,
            .run = run};
}

}  // namespace backup
