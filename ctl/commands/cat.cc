// cat: the bytes of one file as they were.
#include <array>
#include <cerrno>

#include <unistd.h>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

// Copies to stdout. Returns the bytes copied; an error for what could not be written or read.
Result<std::uint64_t> copy_out(int from) {
    std::array<char, 128 * 1024> buffer{};
    std::uint64_t total = 0;
    while (true) {
        ssize_t n = ::read(from, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "read the file from backupd");
        if (n == 0) return total;
        std::string_view rest(buffer.data(), static_cast<std::size_t>(n));
        total += rest.size();
        while (!rest.empty()) {
            ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return Error::from_errno(errno, "write the output");
            rest.remove_prefix(static_cast<std::size_t>(written));
        }
    }
}

Result<ExitCode> run(Context& context) {
    PathArgument argument = parse_path_argument(context.args().positionals()[0]);
    if (context.json())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "cat writes the bytes of a file and knows no --json\nits metadata: backupctl "
                     "--json ls PATH");
    Selection selection = TRY(selection_of(context, argument.revision));
    std::string path = TRY(absolute_here(argument.path));
    Client* client = TRY(context.client());
    RevisionRef revision = TRY(choose_revision(context, *client, path, selection));
    warn_of_damage(context, *client, {revision.set});
    TRY(client->watch_jobs());
    auto opened = context.args().flag("--tar")
                      ? client->export_tree(revision.set.object, revision.id, {path})
                      : client->open_file(revision.set.object, revision.id, path);
    if (!opened.ok()) return with_history_hint(std::move(opened).error(), path);
    auto file = std::move(*opened);
    context.note(printable(path) + " from " + describe(revision, context.note_looks()));
    std::uint64_t copied = TRY(copy_out(file.content.get()));
    // The end of the pipe does not tell whether it is the end of the file: the job does.
    TRY(client->follow(file.job));
    while (!client->view(file.job).ended()) client->wait(std::chrono::milliseconds(1000), -1);
    const JobView& job = client->view(file.job);
    if (!job.finished)
        return Error(ErrorKind::io, ErrorCode::daemon_unreachable,
                     "backupd went away; what was written is not the whole file");
    ExitCode code = exit_code_of_job(job.result, job.error_name);
    if (code == ExitCode::exceptions)
        context.warn("backupctl: " + count_text(job.errors, "object", "objects") +
                     " could not be had and are not in the archive: backupctl log " +
                     std::to_string(job.id));
    else if (code != ExitCode::done)
        context.warn("backupctl: " + printable(path) + " is not whole: " +
                     (job.message.empty() ? job.result : printable(job.message)));
    if (code != ExitCode::done) return code;
    if (file.attributes.has("size") && file.attributes.number("size") != copied)
        return Error(ErrorKind::io, "only " + count_text(copied) + " of " +
                                        count_text(file.attributes.number("size")) + " bytes of " +
                                        printable(path) + " arrived");
    return ExitCode::done;
}

}  // namespace

Command cat_command() {
    return {
        .verb = "cat",
        .summary = "the contents of one file, or of a directory as an archive",
        .description =
            "Writes a file as it was to standard output; which revision it came from is told on "
            "standard error. "
            "The exit code says whether all of it arrived.",
        .positionals = {{"[REV:]PATH", true, false, Completion::file}},
        .options =
            {{.name = "--tar", .help = "a directory with all that is in it, as a tar archive"},
             {.name = "--at", .value = "TIME", .help = "as it was then"},
             {.name = "--revision",
              .value = "REV",
              .help = "the revision",
              .completion = Completion::revision},
             {.name = "--set", .value = "SET", .help = "the set", .completion = Completion::set},
             {.name = "--host", .value = "HOST", .help = "the latest from this machine"},
             kAllUsers},
        .examples = {{"backupctl cat notes.txt --at yesterday | diff - notes.txt",
                      "what changed since"},
                     {"backupctl cat --tar ~/project --at yesterday | tar -xf - -C /tmp",
                      "a directory"},
                     {"backupctl cat -q home/7:/etc/fstab > fstab.old", "quietly into a file"}},
        .run = run};
}

}  // namespace backup
