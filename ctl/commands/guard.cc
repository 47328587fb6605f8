// approve, reject: the answers to what a guard asks about a set.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/guard_words.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

Result<ExitCode> answer(Context& context, bool approves) {
    Client* client = TRY(context.client());
    const SetRef set = TRY(find_set(*client, context.args().positionals()[0]));
    const std::vector<Dict> questions = TRY(client->guard(set.object));
    if (questions.empty())
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "nothing is asked about set '" + set.id + "'");
    if (!context.json() && !context.quiet()) {
        for (const Dict& question : questions) {
            context.line(printable(set.id) + ": " + question_sentence(question, context));
            context.line("  " + consequence(question, approves));
        }
    }
    if (context.dry_run()) {
        if (context.json())
            context.print(guard_object(context, context.object("guard"), set.id, questions));
        return ExitCode::done;
    }
    TRY(client->watch_jobs());
    const std::string job = TRY(client->answer_guard(set.object, approves ? "approve" : "reject"));
    if (job == "/") {
        if (context.json())
            context.print(guard_object(context, context.object("guard"), set.id, questions)
                              .add("answer", approves ? "approve" : "reject"));
        return ExitCode::done;
    }
    FollowOptions follow;
    follow.wait = waits_for_people(context);
    return follow_jobs(context, {job}, follow);
}

Result<ExitCode> approve(Context& context) {
    return answer(context, true);
}
Result<ExitCode> reject(Context& context) {
    return answer(context, false);
}

}  // namespace

std::vector<Command> guard_commands() {
    return {
        {.verb = "approve",
         .summary = "what a guard asks about is as it should be",
         .description =
             "Answers what is asked about a set (see status): what is gone or changed was meant to "
             "be. After a source that is missing or emptied the set is backed up at once, without "
             "it; what is missing stays in the earlier revisions. After a mass change the revision "
             "from before is not kept for its sake any more. With --dry-run only the question is "
             "shown.",
         .positionals = {{"SET", true, false, Completion::set}},
         .examples = {{"backupctl approve home", "I deleted that folder myself"}},
         .run = approve},
        {.verb = "reject",
         .summary = "what a guard asks about is wrong",
         .description =
             "Answers what is asked about a set (see status): what is gone or changed was not "
             "meant to be. A source that is missing stays held until it is back. After a mass "
             "change the revisions made since go to the trash, the one from before stays pinned "
             "and is the newest one, and no revision is made until the files are restored and "
             "`approve` says so. With --dry-run only the question is shown.",
         .positionals = {{"SET", true, false, Completion::set}},
         .examples = {{"backupctl reject home", "somebody encrypted my files"},
                      {"backupctl restore /home --on-conflict replace",
                       "then: the clean revision over what is there"}},
         .run = reject}};
}

}  // namespace backup
