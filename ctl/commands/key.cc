// key: the passwords that open a repository.
#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/recovery_sheet.h"
#include "ctl/resolve.h"
#include "ctl/secret.h"

namespace backup {

namespace {

std::optional<std::string> first_word(const Context& context) {
    const auto& words = context.args().positionals();
    return words.empty() ? std::nullopt : std::optional(words[0]);
}

Result<ExitCode> list(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(only_repository(*client, first_word(context)));
    auto keys = TRY(client->list_keys(repository.object));
    std::vector<JsonObject> objects;
    Table table({{"KEY"},
                 {"USER"},
                 {"HOST", Column::Align::left, Column::Fit::shrink_middle},
                 {"CREATED"},
                 {"IN USE"}});
    for (const auto& key : keys) {
        JsonObject object;
        object.add("id", key.text("id"))
            .add("user", key.text("user"))
            .add("host", key.text("host"));
        context.add_time(object, "created", key.number("created"));
        objects.push_back(object.add("current", key.flag("current")));
        table.add({key.text("id").substr(0, 8), printable(key.text("user")),
                   printable(key.text("host")), time_text(key.number("created"), context.looks()),
                   key.flag("current") ? "yes" : ""});
    }
    if (context.json()) {
        context.print(
            context.object("keys").add("repository", repository.name).add("keys", objects));
        return ExitCode::done;
    }
    context.table(table);
    return ExitCode::done;
}

Result<ExitCode> add(Context& context) {
    Client* client = TRY(context.client());
    RepositoryRef repository = TRY(only_repository(*client, first_word(context)));
    ChosenPassword password =
        TRY(choose_password(context, "the new key of " + repository.name, PasswordUse::new_one));
    UniqueFd secret = TRY(secret_fd(password.secret));
    std::string key = TRY(client->add_key(repository.object, secret.get()));
    if (context.json()) {
        JsonObject object = context.object("key");
        object.add("repository", repository.name).add("id", key);
        if (password.generated) object.add("password", password.secret.text());
        context.print(object);
        return ExitCode::done;
    }
    context.note("Added key " + key.substr(0, 8) + " to " + repository.name + ".");
    if (password.generated) {
        context.line(password.secret.text());
        context.note(
            "This password is shown once. Write it down, then test it: backupctl repo test " +
            repository.name);
    }
    return ExitCode::done;
}

Result<std::string> full_key(Client& client, const RepositoryRef& repository,
                             const std::string& prefix) {
    std::string found;
    for (const auto& key : TRY(client.list_keys(repository.object))) {
        if (prefix.empty() || !key.text("id").starts_with(prefix)) continue;
        if (!found.empty())
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "several keys begin with " + printable(prefix) +
                             "\nlist them: backupctl key list " + repository.name);
        found = key.text("id");
    }
    if (!found.empty()) return found;
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "no key " + printable(prefix) + " in " + repository.name +
                     "\nlist them: backupctl key list " + repository.name);
}

Result<ExitCode> remove(Context& context) {
    const auto& words = context.args().positionals();
    Client* client = TRY(context.client());
    RepositoryRef repository =
        TRY(only_repository(*client, words.size() > 1 ? std::optional(words[0]) : std::nullopt));
    std::string key = TRY(full_key(*client, repository, words.back()));
    if (context.dry_run()) {
        context.line("Would remove key " + key.substr(0, 8) + " from " + repository.name + ".");
        return ExitCode::done;
    }
    TRY(context.confirm("Remove key " + key.substr(0, 8) + " from " + repository.name +
                        "? Its password will not open the repository any more."));
    TRY(client->remove_key(repository.object, key));
    if (context.json())
        context.print(context.object("key")
                          .add("repository", repository.name)
                          .add("id", key)
                          .add("removed", true));
    else
        context.note("Removed key " + key.substr(0, 8) + " from " + repository.name + ".");
    return ExitCode::done;
}

}  // namespace

std::vector<Command> key_commands() {
    const PositionalSpec kRepository = {"REPO", false, false, Completion::repository};
    return {
        {.verb = "key list",
         .summary = "the keys (passwords) of a repository",
         .positionals = {kRepository},
         .run = list},
        {.verb = "key add",
         .summary = "add a password that opens it, too",
         .positionals = {kRepository},
         .options = {{.name = "--password-file",
                      .value = "FILE",
                      .help = "read the new password from FILE ('-': stdin)",
                      .completion = Completion::file},
                     {.name = "--generate-password", .help = "make one and show it once"}},
         .examples = {{"backupctl key add disk --generate-password", "a second key for the safe"}},
         .run = add},
        {.verb = "key remove",
         .summary = "take a password away; never the last one",
         .positionals = {kRepository, {"ID"}},
         .examples = {{"backupctl key remove disk 1a2b3c4d", "the beginning of the id is enough"}},
         .run = remove}};
}

}  // namespace backup
