#include "ctl/app.h"

#include <algorithm>
#include <cstdio>

#include <unistd.h>

#include "backupd_config.h"
#include "ctl/command.h"
#include "ctl/context.h"
#include "ctl/render.h"
#include "ctl/terminal.h"

namespace backup {

namespace {

// First line: what happened. The rest, indented: the details.
void print_error(const Error& error, const Looks& looks) {
    std::string_view rest = error.message();
    std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string text = wrap_words("backupctl: " + std::string(rest.substr(0, end)), looks.width, 2);
    while (end < rest.size()) {
        rest.remove_prefix(end + 1);
        end = std::min(rest.find('\n'), rest.size());
        text += "\n  " + wrap_words(rest.substr(0, end), looks.width == 0 ? 0 : looks.width - 2, 4);
    }
    text.replace(0, 10, paint("backupctl:", Tone::bad, looks));
    std::fprintf(stderr, "%s\n", text.c_str());
}

void print_json_error(Context& context, const Command* command, const Error& error, ExitCode code) {
    bool stream = command != nullptr && command->stream;
    JsonObject object = context.object(stream ? "result" : "error");
    if (stream) {
        if (!command->stream_kind.empty()) object.add("kind", command->stream_kind);
        object.add("outcome", "failed").add("counts", JsonObject());
    }
    object.add("exit_code", static_cast<int>(code))
        .add("error", error_name_for_bus(error.code()))
        .add("message", error.message());
    context.print(object);
}

Result<ExitCode> print_help(Context& context, const Invocation& invocation) {
    if (invocation.command != nullptr) {
        context.raw(help_text(*invocation.command, context.looks().width));
        return ExitCode::done;
    }
    const auto& words = invocation.arguments.positionals();
    for (const auto& command : commands())
        if (!words.empty() && command.verb.starts_with(words[0] + " "))
            context.raw(help_text(command, context.looks().width) + "\n");
    if (words.empty()) context.raw(overview_text());
    return ExitCode::done;
}

Result<ExitCode> dispatch(Context& context, const Invocation& invocation) {
    TRY(context.check_globals());
    if (invocation.help) return print_help(context, invocation);
    if (invocation.version) return find_command("version")->run(context);
    return invocation.command->run(context);
}

}  // namespace

int run_backupctl(const std::vector<std::string>& arguments) {
    SystemClock clock;
    Invocation invocation;
    auto parsed = parse_command_line(arguments, invocation);
    if (!parsed.ok() && std::find(arguments.begin(), arguments.end(), "--json") != arguments.end())
        invocation.arguments.add_option("--json", {});
    Context context(invocation.arguments, clock);
    Result<ExitCode> result =
        parsed.ok() ? dispatch(context, invocation) : Result<ExitCode>(parsed.error());
    if (result.ok()) {
        if (auto flushed = context.flush(); !flushed.ok()) result = flushed.error();
    }
    if (result.ok()) return static_cast<int>(*result);
    ExitCode code = exit_code(result.error());
    print_error(result.error(), context.note_looks());
    if (context.json()) print_json_error(context, invocation.command, result.error(), code);
    return static_cast<int>(code);
}

}  // namespace backup
