// log: messages of the daemon or of one job.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/commands/job_argument.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/stream.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

void print_message(Context& context, const Record& record) {
    auto time = parse_rfc3339(record.text("time"));
    std::uint64_t usec = time.ok() ? to_usec(*time) : 0;
    std::string level = record.text("level");
    if (context.json()) {
        JsonObject object;
        object.add("schema", 1).add("type", "message");
        context.add_time(object, "time", usec);
        object.add("level", level);
        if (record.number("job") != 0) object.add("job", record.number("job"));
        object.add("message", record.text("message"));
        context.print(object);
        return;
    }
    Tone tone = level == "error" ? Tone::bad : level == "warning" ? Tone::warn : Tone::plain;
    std::string line = time_text(usec, context.looks()) + "  ";
    if (record.number("job") != 0) line += "job " + std::to_string(record.number("job")) + ": ";
    if (level != "info" && !level.empty()) line += level + ": ";
    context.line(paint(line + printable(record.text("message")), tone, context.looks()));
}

Result<ExitCode> run(Context& context) {
    Dict options;
    const auto& words = context.args().positionals();
    if (!words.empty()) options.set("job", Value(TRY(parse_job_id(words[0]))));
    if (auto since = context.args().value("--since")) {
        TimeSpan span = TRY(parse_time_words(*since, context.now()));
        options.set("since", Value(to_usec(span.first)));
    }
    bool follow = context.args().flag("--follow");
    if (follow) options.set("follow", Value(true));
    Client* client = TRY(context.client());
    InterruptGuard interrupt;
    Stream stream(TRY(client->read_log(options)));
    std::uint64_t count = 0;
    ExitCode code = ExitCode::done;
    while (true) {
        if (!stream.wait(interrupt.fd())) {
            code = ExitCode::interrupted;
            break;
        }
        auto record = stream.next();
        if (!record.ok() && follow && record.error().code() == ErrorCode::none)
            return std::move(record).error().with_code(ErrorCode::daemon_unreachable);
        if (!record.ok()) return std::move(record).error();
        if (!*record) break;
        ++count;
        print_message(context, **record);
        if (follow) TRY(context.flush());
    }
    if (context.json()) {
        JsonObject counts;
        counts.add("messages", count);
        context.print(context.object("result")
                          .add("kind", "log")
                          .add("outcome", code == ExitCode::done ? "complete" : "interrupted")
                          .add("counts", counts)
                          .add("exit_code", static_cast<int>(code)));
    }
    return code;
}

}  // namespace

Command log_command() {
    return {.verb = "log",
            .summary = "messages of the daemon, or of one job",
            .positionals = {{"ID", false, false, Completion::job}},
            .options = {{.name = "--follow",
                         .letter = 'f',
                         .help = "go on with new messages; with a job, until it ends"},
                        {.name = "--since", .value = "TIME", .help = "only messages since then"}},
            .examples = {{"backupctl log -f", "watch what the daemon does"},
                         {"backupctl log 12", "what job 12 said"}},
            .stream = true,
            .stream_kind = "log",
            .run = run};
}

}  // namespace backup
