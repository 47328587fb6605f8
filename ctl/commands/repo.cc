// repo: where backups are kept.
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/recovery_sheet.h"
#include "ctl/resolve.h"
#include "ctl/secret.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

Result<ExitCode> list(Context& context) {
    Client* client = TRY(context.client());
    auto repositories = TRY(client->list_repositories());
    std::vector<JsonObject> objects;
    Table table({{"REPOSITORY"},
                 {"STATE"},
                 {"USED", Column::Align::right},
                 {"LAST CHECK"},
                 {"RESULT"},
                 {"REMINDER", Column::Align::left, Column::Fit::shrink_end}});
    for (const auto& [name, object] : repositories) {
        Dict p = TRY(client->properties(object, "Repository"));
        JsonObject entry;
        entry.add("name", name)
            .add("state", p.text("State"))
            .add("used_bytes", p.number("UsedBytes"));
        context.add_time(entry, "last_check", p.number("LastCheckUSec"));
        entry.add("last_check_result", p.text("LastCheckResult"))
            .add("reminder", p.text("Reminder"));
        objects.push_back(entry);
        std::string state = p.text("State");
        Tone tone = state == "damaged" || state == "unavailable" ? Tone::bad
                    : state == "locked"                          ? Tone::warn
                                                                 : Tone::plain;
        table.add(
            {name, state,
             p.number("UsedBytes") == 0 ? "" : size_text(p.number("UsedBytes"), context.looks()),
             p.number("LastCheckUSec") == 0 ? "never"
                                            : time_text(p.number("LastCheckUSec"), context.looks()),
             p.text("LastCheckResult"),
             p.text("Reminder") == "sheet-untested" ? "test the recovery sheet"
                                                    : p.text("Reminder")},
            tone);
    }
    if (context.json()) {
        context.print(context.object("repositories").add("repositories", objects));
        return ExitCode::done;
    }
    if (table.empty())
        context.note(
            "No repository yet. Make one: backupctl repo init NAME URL --generate-password");
    context.table(table);
    return ExitCode::done;
}

std::optional<std::string> first_word(const Context& context) {
    const auto& words = context.args().positionals();
    return words.empty() ? std::nullopt : std::optional(words[0]);
}

Result<ExitCode> show(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(only_repository(*client, first_word(context)));
    Dict p = TRY(client->properties(repository.object, "Repository"));
    Dict d = TRY(client->repository_details(repository.object));
    if (context.json()) {
        JsonObject object = context.object("repository");
        object.add("name", repository.name)
            .add("url", d.text("url"))
            .add("id", d.text("id"))
            .add("state", p.text("State"));
        for (const char* key : {"version", "keys", "packs", "bytes", "revisions"})
            object.add(key, d.number(key));
        object.add("free_bytes", d.number("free-bytes")).add("polynomial", d.text("polynomial"));
        context.add_time(object, "last_check", p.number("LastCheckUSec"));
        object.add("last_check_result", p.text("LastCheckResult"))
            .add("reminder", p.text("Reminder"));
        context.print(object);
        return ExitCode::done;
    }
    const Looks& looks = context.looks();
    auto row = [&](const char* name, const std::string& value) {
        if (!value.empty())
            context.line(std::string(name) + std::string(14 - std::string_view(name).size(), ' ') +
                         value);
    };
    row("repository", repository.name);
    row("url", printable(d.text("url")));
    row("id", d.text("id"));
    row("state", p.text("State"));
    row("format", "restic version " + std::to_string(d.number("version")));
    row("keys", count_text(d.number("keys")));
    row("revisions", count_text(d.number("revisions")));
    row("packs", count_text(d.number("packs")) + ", " + size_text(d.number("bytes"), looks));
    if (d.number("free-bytes") > 0) row("free", size_text(d.number("free-bytes"), looks));
    row("last check", p.number("LastCheckUSec") == 0 ? "never"
                                                     : time_text(p.number("LastCheckUSec"), looks) +
                                                           ", " + p.text("LastCheckResult"));
    if (p.text("Reminder") == "sheet-untested")
        row("reminder",
            "the recovery sheet was never tested: backupctl repo test " + repository.name);
    return ExitCode::done;
}

// Local paths are written down whole: the daemon has another current directory.
Result<std::string> absolute_url(const std::string& url) {
    if (url.empty()) return usage("an empty URL");
    std::size_t colon = url.find(':');
    bool scheme = colon != std::string::npos && colon > 1 && url.find('/') > colon;
    if (scheme) return url;
    return absolute_here(url);
}

struct SheetFile {
    UniqueFd fd;
    std::string path;
};

// Opened before anything is made, so that a full disk or a wrong name costs nothing.
Result<SheetFile> open_sheet(const Context& context) {
    SheetFile sheet;
    auto path = context.args().value("--sheet");
    if (!path) return sheet;
    sheet.path = *path;
    sheet.fd =
        UniqueFd(::open(path->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!sheet.fd)
        return Error::from_errno(errno, "create the recovery sheet " + printable(*path))
            .with_code(ErrorCode::invalid_arguments);
    return sheet;
}

Result<> write_sheet(const SheetFile& sheet, std::string_view text) {
    while (!text.empty()) {
        ssize_t n = ::write(sheet.fd.get(), text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return Error::from_errno(errno, "write the recovery sheet " + printable(sheet.path));
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(sheet.fd.get()) != 0 && errno != EINVAL)
        return Error::from_errno(errno, "write the recovery sheet " + printable(sheet.path));
    return {};
}

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data())
                                                            : std::string();
}

struct FoundSet {
    std::string id, host;
    std::uint64_t newest = 0;  // microseconds since 1970
};

// What a repository holds, where this machine has no set of its own.
std::vector<FoundSet> found_in(Client& client, const std::string& repository) {
    std::vector<FoundSet> found;
    auto sets = client.list_sets();
    if (!sets.ok()) return found;
    for (const auto& [id, object] : *sets) {
        auto p = client.properties(object, "Set");
        if (!p.ok() || p->text("State") != "found" || p->text("Repository") != repository) continue;
        Dict options;
        options.set("limit", Value(std::uint32_t{1}));
        auto newest = client.list_revisions(object, "Set", options);
        if (!newest.ok() || newest->list.empty()) continue;
        found.push_back({id, newest->list[0].text("host"), newest->list[0].number("time")});
    }
    return found;
}

void tell_found(Context& context, const std::vector<FoundSet>& found) {
    for (const FoundSet& set : found)
        context.note("It holds " + printable(set.id) + " of the machine " + printable(set.host) +
                     ", last backed up " + time_text(set.newest, context.looks()));
    context.note("Look into it: backupctl revisions, backupctl ls PATH, backupctl history PATH");
    context.note("Get it back:  backupctl restore PATH, or backupctl restore PATH --to DIR");
    context.note("Go on with it on this machine: backupctl set edit " + printable(found[0].id) +
                 " --enable");
}

Result<ExitCode> add_or_init(Context& context, bool init) {
    const auto& words = context.args().positionals();
    const std::string& name = words[0];
    std::string url = TRY(absolute_url(words[1]));
    if (context.args().flag("--sheet") && !context.args().flag("--generate-password") &&
        !context.args().flag("--password-file"))
        return usage("--sheet belongs to --generate-password or --password-file");
    if (context.args().flag("--refer") && !context.args().flag("--password-file"))
        return usage("--refer belongs to --password-file");
    Client* client = TRY(context.client());
    ChosenPassword password =
        TRY(choose_password(context, "the repository " + printable(name),
                            init ? PasswordUse::new_one : PasswordUse::existing));
    SheetFile sheet = TRY(open_sheet(context));
    UniqueFd secret = TRY(secret_fd(password.secret));
    Dict config, options;
    config.set("url", Value(url));
    options.set("init", Value(init));
    if (password.generated) options.set("generated", Value(true));
    if (context.args().flag("--refer"))
        options.set("password-file",
                    Value(TRY(absolute_here(*context.args().value("--password-file")))));
    auto added = client->add_repository(name, config, secret.get(), options);
    std::string hint = client->on_system_bus() ? write_permission_hint(url) : std::string();
    if (!added.ok()) {
        if (sheet.fd) ::unlink(sheet.path.c_str());
        ErrorCode code = added.error().code();
        bool storage = code == ErrorCode::repository_unavailable ||
                       code == ErrorCode::access_denied || code == ErrorCode::none;
        if (storage && !hint.empty())
            return Error(added.error().kind(), code, added.error().message() + "\n" + hint);
        return std::move(added).error();
    }
    auto details = client->repository_details(*added);
    RecoverySheet facts{name,
                        url,
                        details.ok() ? details->text("id") : "",
                        host_name(),
                        time_text(to_usec(context.now()), context.looks()),
                        password.secret.text()};
    if (sheet.fd) TRY(write_sheet(sheet, recovery_text(facts)));
    const std::vector<FoundSet> found = init ? std::vector<FoundSet>() : found_in(*client, name);
    if (context.json()) {
        JsonObject object = context.object("repository");
        object.add("name", name)
            .add("url", url)
            .add("id", facts.repository_id)
            .add("created", init);
        std::vector<JsonObject> holds;
        for (const FoundSet& set : found) {
            holds.push_back(JsonObject().add("set", set.id).add("host", set.host));
            context.add_time(holds.back(), "newest", set.newest);
        }
        if (!holds.empty()) object.add("found", holds);
        if (password.generated && !sheet.fd)
            object.add("recovery", JsonObject()
                                       .add("url", url)
                                       .add("password", facts.password)
                                       .add("repository_id", facts.repository_id)
                                       .add("commands", recovery_commands(url)));
        context.print(object);
    } else {
        context.note(
            (init ? "Made the repository " : "Added the repository ") + printable(name) + " at " +
            printable(url) +
            (facts.repository_id.empty() ? "" : " (id " + facts.repository_id.substr(0, 10) + ")"));
        if (password.generated && !sheet.fd) context.raw(recovery_text(facts));
        if (sheet.fd)
            context.note("The recovery sheet is in " + printable(sheet.path) +
                         "; keep it apart from this machine.");
        if (found.empty())
            context.note("Next: backupctl set create NAME --repo " + printable(name) + " PATH...");
        else
            tell_found(context, found);
    }
    if (!hint.empty()) context.note(hint);
    return ExitCode::done;
}

Result<ExitCode> init(Context& context) {
    return add_or_init(context, true);
}
Result<ExitCode> add(Context& context) {
    return add_or_init(context, false);
}

Result<ExitCode> remove(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(find_repository(*client, context.args().positionals()[0]));
    if (context.dry_run()) {
        context.line("Would forget the repository " + repository.name +
                     " and its password; what is stored there stays.");
        return ExitCode::done;
    }
    TRY(context.confirm(
        "Forget the repository " + repository.name +
        " and its kept password? What is stored there stays, and needs the password to be read."));
    TRY(client->remove_repository(repository.name));
    if (context.json())
        context.print(
            context.object("repository").add("name", repository.name).add("removed", true));
    else
        context.note("Forgot the repository " + repository.name + ". Nothing in it was changed.");
    return ExitCode::done;
}

Result<ExitCode> test(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(only_repository(*client, first_word(context)));
    ChosenPassword password = TRY(
        choose_password(context, "the repository " + repository.name + " (from the recovery sheet)",
                        PasswordUse::existing));
    UniqueFd secret = TRY(secret_fd(password.secret));
    Dict result = TRY(client->test(repository.object, secret.get()));
    if (context.json()) {
        JsonObject object = context.object("test");
        object.add("repository", repository.name)
            .add("opens", true)
            .add("details", counts_object(result));
        for (const auto& key : {"id", "key", "url"})
            if (result.has(key)) object.add(key, result.text(key));
        context.print(object);
        return ExitCode::done;
    }
    context.line(std::string(context.looks().unicode ? "✓ " : "") + "The password opens " +
                 repository.name +
                 (result.has("revisions")
                      ? ": " + count_text(result.number("revisions"), "revision", "revisions") +
                            " can be read."
                      : "."));
    return ExitCode::done;
}

Result<ExitCode> unlock(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(only_repository(*client, first_word(context)));
    Dict p = TRY(client->properties(repository.object, "Repository"));
    JsonObject object = context.object("unlock");
    object.add("repository", repository.name);
    if (p.text("State") == "locked" || context.args().flag("--password-file")) {
        ChosenPassword password = TRY(
            choose_password(context, "the repository " + repository.name, PasswordUse::existing));
        UniqueFd secret = TRY(secret_fd(password.secret));
        TRY(client->unlock(repository.object, secret.get()));
        if (context.json())
            context.print(object.add("unlocked", true));
        else
            context.note(repository.name + " is unlocked until backupd ends.");
        return ExitCode::done;
    }
    Dict options;
    if (context.args().flag("--all")) {
        TRY(context.confirm("Remove every lock of " + repository.name +
                            ", also those of programs that may still be writing?"));
        options.set("all", Value(true));
    }
    std::uint32_t removed = TRY(client->remove_locks(repository.object, options));
    if (context.json())
        context.print(object.add("locks_removed", std::uint64_t{removed}));
    else
        context.line(removed == 0 ? "No " + std::string(options.empty() ? "stale " : "") +
                                        "locks in " + repository.name + "."
                                  : "Removed " + count_text(removed, "lock", "locks") + " from " +
                                        repository.name + ".");
    return ExitCode::done;
}

}  // namespace

std::vector<Command> repo_commands() {
    const OptionSpec kPasswordFile = {.name = "--password-file",
                                      .value = "FILE",
                                      .help = "read the password from FILE ('-': stdin)",
                                      .completion = Completion::file};
    const OptionSpec kGenerate = {.name = "--generate-password",
                                  .help = "make a password and show it once, on a recovery sheet"};
    const OptionSpec kSheet = {
        .name = "--sheet",
        .value = "FILE",
        .help = "write the recovery sheet to this new file (mode 0600) rather than show it",
        .completion = Completion::file};
    const OptionSpec kRefer = {
        .name = "--refer",
        .help = "have backupd read the password from FILE each time, rather than keep a copy"};
    const PositionalSpec kOne = {"NAME", false, false, Completion::repository};
    return {{.verb = "repo list", .summary = "repositories and their state", .run = list},
            {.verb = "repo show",
             .summary = "one repository in full",
             .positionals = {kOne},
             .run = show},
            {.verb = "repo init",
             .summary = "make a new repository",
             .description = "Makes a repository in restic's format at URL: a local folder so far. "
                            "Without an option for the password "
                            "it is asked for, twice.",
             .positionals = {{"NAME"}, {"URL", true, false, Completion::directory}},
             .options = {kPasswordFile, kGenerate, kSheet, kRefer},
             .examples = {{"backupctl repo init disk /mnt/backup/repo --generate-password",
                           "shows the recovery sheet once: print it"},
                          {"backupctl repo init disk /mnt/backup/repo --password-file secret.txt",
                           "with a password of yours"}},
             .run = init},
            {.verb = "repo add",
             .summary = "use a repository that exists, also one made by restic",
             .positionals = {{"NAME"}, {"URL", true, false, Completion::directory}},
             .options = {kPasswordFile, kRefer},
             .examples = {{"backupctl repo add old /mnt/backup/restic", "asks for its password"}},
             .run = add},
            {.verb = "repo remove",
             .summary = "forget a repository; what it holds stays",
             .positionals = {{"NAME", true, false, Completion::repository}},
             .run = remove},
            {.verb = "repo test",
             .summary = "test the recovery sheet: does this password open it?",
             .positionals = {kOne},
             .options = {kPasswordFile},
             .examples = {{"backupctl repo test disk", "type the password from paper"}},
             .run = test},
            {.verb = "repo unlock",
             .summary = "remove stale locks, or give the missing password",
             .description = "Removes locks that their owners left behind: older than 30 minutes, "
                            "or of a process of this machine that is gone. Where "
                            "the repository waits for its password, asks for that instead.",
             .positionals = {kOne},
             .options = {{.name = "--all",
                          .help = "every lock; only when no other program is at work there"},
                         kPasswordFile},
             .run = unlock}};
}

}  // namespace backup
