// completion: scripts that teach a shell the verbs and options.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"

namespace backup {

namespace {

Result<ExitCode> run(Context& context) {
    const std::string& shell = context.args().positionals()[0];
    std::string script = completion_script(shell);
    if (script.empty())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "no completion for '" + printable(shell) + "'\nthere is: bash, zsh, fish");
    context.raw(script);
    return ExitCode::done;
}

}  // namespace

Command completion_command() {
    return {.verb = "completion",
            .summary = "completion for bash, zsh or fish",
            .description =
                "Prints a script for the shell. Packages install it; for one session: source "
                "<(backupctl completion bash)",
            .positionals = {{"SHELL", true, false, Completion::shell}},
            .examples = {{"source <(backupctl completion bash)", "for this session"}},
            .run = run};
}

}  // namespace backup
