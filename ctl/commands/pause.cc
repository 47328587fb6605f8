// pause: hold uploads up. (resume: undo.cc)
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

// Microseconds from now; 0: until resumed.
Result<std::uint64_t> wanted(const Context& context) {
    const auto length = context.args().value("--for");
    const auto until = context.args().value("--until");
    if (length && until) return usage("--for and --until exclude each other");
    if (length) {
        const std::uint64_t seconds = TRY_DURING(parse_duration(*length), "--for");
        if (seconds == 0) return usage("--for: longer than that");
        return seconds * 1'000'000;
    }
    if (!until) return std::uint64_t{0};
    const Timestamp time = TRY_DURING(parse_time_words(*until, context.now()), "--until").first;
    if (time <= context.now()) return usage("--until: that time is over");
    return to_usec(time) - to_usec(context.now());
}

Result<ExitCode> pause(Context& context) {
    const std::uint64_t usec = TRY(wanted(context));
    Client* client = TRY(context.client());
    if (context.dry_run()) {
        context.line("Uploads would be paused.");
        return ExitCode::done;
    }
    TRY(client->pause(usec));
    const std::uint64_t until = TRY(client->manager()).number("PausedUntilUSec");
    if (context.json()) {
        JsonObject object = context.object("pause");
        object.add("paused", true);
        context.add_time(object, "until", until == UINT64_MAX ? 0 : until);
        context.print(object);
    } else {
        context.note("Uploads are paused " +
                     (until == UINT64_MAX
                          ? std::string("until: backupctl resume")
                          : "until " + short_time_text(until, context.now(), context.looks())) +
                     ". Changes are watched meanwhile.");
    }
    return ExitCode::done;
}

}  // namespace

Command pause_command() {
    return {
        .verb = "pause",
        .summary = "hold uploads up, keep watching",
        .description =
            "Nothing is uploaded until the time is over or `resume`, also over a restart of "
            "the daemon: a backup that runs stops where it is and goes on later. Changes are "
            "watched and restores work meanwhile. `run --ignore paused` backs up all the same.",
        .options = {{.name = "--for", .value = "TIME", .help = "for so long (30min, 2h)"},
                    {.name = "--until", .value = "TIME", .help = "until then (\"18:00\", a date)"}},
        .examples = {{"backupctl pause --for 2h", "for the length of a film"}},
        .run = pause};
}

}  // namespace backup
