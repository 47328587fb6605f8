// cancel: stop a job; what it stored stays for the next run.
#include "ctl/commands/commands.h"
#include "ctl/commands/job_argument.h"
#include "ctl/context.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    std::uint64_t id = TRY(parse_job_id(context.args().positionals()[0]));
    Client* client = TRY(context.client());
    TRY(client->watch_jobs());
    std::string object = Client::job_object(id);
    JobView before = TRY(client->follow(object));
    std::string name = "job " + std::to_string(id);
    if (before.ended())
        return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                     name + " has ended already: " + before.result);
    TRY(client->cancel(object));
    // A moment, to tell the end rather than the wish; --no-wait does without.
    auto deadline = std::chrono::steady_clock::now() +
                    std::chrono::seconds(context.wait_seconds().value_or(10));
    while (context.wait_mode() != WaitMode::no_wait && !client->view(object).ended() &&
           std::chrono::steady_clock::now() < deadline)
        client->wait(std::chrono::milliseconds(200), -1);
    const JobView& after = client->view(object);
    std::string state = after.finished ? after.result : "cancelling";
    if (context.json()) {
        context.print(
            context.object("cancel").add("job", id).add("kind", after.kind).add("state", state));
        return ExitCode::done;
    }
    if (!context.quiet())
        context.line(after.finished ? name + " ended: " + state : name + " is being cancelled");
    return ExitCode::done;
}

}  // namespace

Command cancel_command() {
    return {.verb = "cancel",
            .summary = "stop a job",
            .description =
                "Asks the daemon to stop a job. No revision appears; what was stored already is "
                "used by the next run.",
            .positionals = {{"ID", true, false, Completion::job}},
            .examples = {{"backupctl cancel 12", "stop job 12"}},
            .run = run};
}

}  // namespace backup
