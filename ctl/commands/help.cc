// help: what there is, or how one verb is used.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/nearest.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    std::string verb;
    for (const auto& word : context.args().positionals()) verb += (verb.empty() ? "" : " ") + word;
    if (verb.empty()) {
        context.raw(overview_text());
        return ExitCode::done;
    }
    if (const Command* command = find_command(verb)) {
        context.raw(help_text(*command, context.looks().width));
        return ExitCode::done;
    }
    bool group = false;
    std::vector<std::string> names;
    for (const auto& command : commands()) {
        names.push_back(command.verb);
        if (!command.verb.starts_with(verb + " ")) continue;
        context.line(usage_line(command));
        context.line("    " + command.summary);
        group = true;
    }
    if (group) return ExitCode::done;
    std::string near = nearest(verb, names);
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "no help for '" + printable(verb) + "'" +
                     (near.empty() ? "" : "; did you mean '" + near + "'?") +
                     "\nall verbs: backupctl help");
}

}  // namespace

Command help_command() {
    return {.verb = "help",
            .summary = "this, or how one verb is used",
            .positionals = {{"VERB", false, true, Completion::verb}},
            .run = run};
}

}  // namespace backup
