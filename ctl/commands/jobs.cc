// jobs: running and past jobs, from the daemon's journal.
#include <algorithm>
#include <charconv>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/commands/job_argument.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"
#include "ctl/stream.h"
#include "ctl/time_words.h"

namespace backup {

Result<std::uint64_t> parse_job_id(const std::string& text) {
    std::uint64_t id = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (problem != std::errc() || end != text.data() + text.size() || id == 0)
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "'" + printable(text) + "' is not a job number\nlist them: backupctl jobs");
    return id;
}

namespace {

std::uint64_t usec_of(const std::string& time) {
    auto parsed = parse_rfc3339(time);
    return parsed.ok() ? to_usec(*parsed) : 0;
}

std::string target_of(const Record& job) {
    std::string set = job.text("set");
    return set.empty() ? job.text("repository") : set;
}

double seconds_of(const Context& context, const Record& job) {
    std::uint64_t begin = usec_of(job.text("begin"));
    std::uint64_t end = job.text("end").empty() ? to_usec(context.now()) : usec_of(job.text("end"));
    return end > begin ? static_cast<double>(end - begin) / 1e6 : 0;
}

JsonObject job_object(const Context& context, const Record& job) {
    JsonObject object;
    object.add("id", job.number("id")).add("kind", job.text("kind")).add("set", job.text("set"));
    if (job.has("repository")) object.add("repository", job.text("repository"));
    object.add("state", job.text("state"));
    auto nullable = [&](const char* key) {
        if (job.text(key).empty())
            object.add_null(key);
        else
            object.add(key, job.text(key));
    };
    nullable("outcome");
    context.add_time(object, "begin", usec_of(job.text("begin")));
    context.add_time(object, "end", usec_of(job.text("end")));
    object.add("seconds", seconds_of(context, job))
        .add("trigger", job.text("trigger"))
        .add("mode", job.text("mode"))
        .add("exceptions", job.number("exceptions"));
    nullable("revision");
    nullable("parent");
    if (!job.text("error").empty()) object.add("error", job.text("error"));
    if (!job.text("message").empty()) object.add("message", job.text("message"));
    JsonObject counts;
    for (auto [key, count] : job.numbers("counts")) {
        std::replace(key.begin(), key.end(), '-', '_');
        counts.add(key, count);
    }
    object.add("counts", counts);
    return object;
}

Result<std::vector<Record>> read_jobs(Client& client, const Dict& options) {
    Stream stream(TRY(client.list_job_history(options)));
    std::vector<Record> jobs;
    while (true) {
        auto record = TRY(stream.next());
        if (!record) return jobs;
        jobs.push_back(std::move(*record));
    }
}

void print_report(Context& context, Client& client, const Record& job) {
    auto fd = client.job_report(Client::job_object(job.number("id")));
    if (!fd.ok()) {
        if (job.number("exceptions") > 0)
            context.note("The list of exceptions is no longer kept by the daemon.");
        return;
    }
    Stream stream(std::move(*fd));
    while (true) {
        auto record = stream.next();
        if (!record.ok() || !*record) return;
        const Record& entry = **record;
        std::string line = "  ";
        if (entry.text("type") == "exception") line += printable(entry.bytes("path")) + ": ";
        if (entry.text("type") == "finding")
            line += entry.text("severity") + ": " + printable(entry.text("object")) + ": ";
        std::string message =
            entry.text("message").empty() ? entry.text("kind") : entry.text("message");
        context.line(line + printable(message));
    }
}

void print_one(Context& context, Client& client, const Record& job) {
    const Looks& looks = context.looks();
    auto row = [&](const std::string& name, const std::string& value) {
        constexpr std::size_t kLabel = 18;
        if (!value.empty())
            context.line(name + std::string(name.size() < kLabel ? kLabel - name.size() : 1, ' ') +
                         value);
    };
    row("job", std::to_string(job.number("id")));
    row("kind", job.text("kind"));
    row("set", job.text("set"));
    row("repository", job.text("repository"));
    row("state", job.text("state"));
    if (!job.text("outcome").empty())
        row("outcome", paint(outcome_text(job.text("outcome"), looks),
                             outcome_tone(job.text("outcome")), looks));
    row("trigger", job.text("trigger"));
    row("mode", job.text("mode"));
    row("begin", time_text(usec_of(job.text("begin")), looks));
    if (!job.text("end").empty()) row("end", time_text(usec_of(job.text("end")), looks));
    row("took", duration_text(seconds_of(context, job)));
    row("revision", job.text("revision"));
    row("parent", job.text("parent"));
    row("error", job.text("error"));
    row("message", printable(job.text("message")));
    for (const auto& [key, count] : job.numbers("counts")) {
        if (count == 0 && !context.verbose()) continue;
        std::string name = key;
        std::replace(name.begin(), name.end(), '_', '-');
        bool size = key.find("bytes") != std::string::npos;
        row(name, size ? size_text(count, looks) : count_text(count));
    }
    row("exceptions", count_text(job.number("exceptions")));
    print_report(context, client, job);
}

Result<ExitCode> run(Context& context) {
    constexpr std::uint64_t kShown = 50;
    Dict options;
    const auto& words = context.args().positionals();
    if (!words.empty()) options.set("id", Value(TRY(parse_job_id(words[0]))));
    if (auto since = context.args().value("--since")) {
        TimeSpan span = TRY(parse_time_words(*since, context.now()));
        options.set("since", Value(to_usec(span.first)));
    } else if (words.empty() && !context.args().flag("--all")) {
        options.set("limit", Value(kShown));
    }
    Client* client = TRY(context.client());
    auto jobs = TRY(read_jobs(*client, options));
    if (!words.empty() && jobs.empty())
        return Error(ErrorKind::not_found, ErrorCode::no_such_job,
                     "no job " + words[0] + "\nlist them: backupctl jobs");
    if (context.json()) {
        std::vector<JsonObject> list;
        for (const auto& job : jobs) list.push_back(job_object(context, job));
        context.print(context.object("jobs").add("jobs", list));
        return ExitCode::done;
    }
    if (!words.empty()) {
        print_one(context, *client, jobs.front());
        return ExitCode::done;
    }
    using Fit = Column::Fit;
    Table table({{"JOB", Column::Align::right},
                 {"KIND"},
                 {"OF", Column::Align::left, Fit::shrink_middle},
                 {"OUTCOME"},
                 {"BEGIN"},
                 {"TOOK", Column::Align::right},
                 {"TRIGGER", Column::Align::left, Fit::drop},
                 {"EXCEPTIONS", Column::Align::right, Fit::drop},
                 {"MESSAGE", Column::Align::left, Fit::shrink_end}});
    for (const auto& job : jobs) {
        std::string outcome = job.text("outcome").empty() ? job.text("state") : job.text("outcome");
        std::uint64_t exceptions = job.number("exceptions");
        std::string message = job.text("message");
        if (auto end = message.find('\n'); end != std::string::npos) message.resize(end);
        table.add({std::to_string(job.number("id")), job.text("kind"), target_of(job),
                   outcome_text(outcome, context.looks()),
                   time_text(usec_of(job.text("begin")), context.looks()),
                   duration_text(seconds_of(context, job)), job.text("trigger"),
                   exceptions == 0 ? "" : count_text(exceptions), printable(message)},
                  outcome == "complete" ? Tone::plain : outcome_tone(outcome));
    }
    if (table.empty()) context.note("No jobs yet.");
    context.table(table);
    if (options.has("limit") && jobs.size() == kShown)
        context.note("The latest " + std::to_string(kShown) +
                     "; older ones with --since or --all.");
    return ExitCode::done;
}

}  // namespace

Command jobs_command() {
    return {
        .verb = "jobs",
        .summary = "running and past jobs",
        .description =
            "Lists jobs, newest first: what ran, for which set, how it ended. With a number, "
            "everything about that job, "
            "its exceptions included as long as the daemon keeps them.",
        .positionals = {{"ID", false, false, Completion::job}},
        .options =
            {{.name = "--since",
              .value = "TIME",
              .help = "only jobs that began since then (\"2 hours ago\", yesterday, 2026-11-20)"},
             {.name = "--all", .help = "all that the journal holds"}},
        .examples = {{"backupctl jobs --since yesterday", "what happened since yesterday morning"},
                     {"backupctl jobs 12", "one job in full"}},
        .run = run};
}

}  // namespace backup
