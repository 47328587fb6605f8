// config: the daemon's policy files.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"

namespace backup {

namespace {

Result<ExitCode> check(Context& context) {
    Client* client = TRY(context.client());
    auto problems = TRY(client->check_configuration());
    std::vector<JsonObject> objects;
    for (const auto& problem : problems) {
        objects.push_back(JsonObject()
                              .add_bytes("file", problem.file)
                              .add("line", std::uint64_t{problem.line})
                              .add("message", problem.message));
        if (context.json()) continue;
        std::string place =
            printable(problem.file) + (problem.line == 0 ? "" : ":" + std::to_string(problem.line));
        context.line(place + ": " + paint(printable(problem.message), Tone::bad, context.looks()));
    }
    if (context.json())
        context.print(
            context.object("config-check").add("good", problems.empty()).add("problems", objects));
    else if (problems.empty())
        context.note("The configuration is good.");
    return problems.empty() ? ExitCode::done : ExitCode::usage;
}

Result<ExitCode> show(Context& context) {
    Client* client = TRY(context.client());
    std::string text = TRY(client->show_configuration());
    if (context.json()) {
        context.print(context.object("config").add("toml", text));
        return ExitCode::done;
    }
    context.raw(text);
    if (!text.empty() && text.back() != '\n') context.raw("\n");
    return ExitCode::done;
}

Result<ExitCode> reload(Context& context) {
    Client* client = TRY(context.client());
    auto done = client->reload();
    if (!done.ok())
        return Error(done.error().kind(), done.error().code(),
                     done.error().message() + "\nthe old configuration stays in force");
    if (context.json())
        context.print(context.object("config").add("reloaded", true));
    else
        context.note("The configuration was read again.");
    return ExitCode::done;
}

}  // namespace

std::vector<Command> config_commands() {
    return {{.verb = "config show", .summary = "the configuration in force, as TOML", .run = show},
            {.verb = "config check",
             .summary = "look for mistakes in the files, without using them",
             .description = "Problems are listed with file and line and end with exit 2.",
             .run = check},
            {.verb = "config reload",
             .summary = "read the files again",
             .description = "A mistake in any of them keeps the configuration that is in force.",
             .run = reload}};
}

}  // namespace backup
