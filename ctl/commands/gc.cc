// gc, audit: what nobody needs any more goes, and where every byte belongs.
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/interrupt.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

Result<std::vector<RepositoryRef>> repositories_of(const Context& context, Client& client) {
    std::vector<RepositoryRef> repositories;
    for (const auto& name : context.args().positionals())
        repositories.push_back(TRY(find_repository(client, name)));
    if (repositories.empty())
        for (const auto& [name, object] : TRY(client.list_repositories()))
            repositories.push_back({name, object});
    if (repositories.empty())
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                     "there is no repository yet\nmake one: backupctl repo init NAME URL "
                     "--generate-password");
    return repositories;
}

Result<ExitCode> gc(Context& context) {
    Client* client = TRY(context.client());
    const auto repositories = TRY(repositories_of(context, *client));
    TRY(client->watch_jobs());
    Dict options;
    if (context.dry_run()) options.set("dry-run", Value(true));
    std::vector<std::string> jobs;
    for (const RepositoryRef& repository : repositories)
        jobs.push_back(TRY_DURING(client->collect(repository.object, options),
                                  "repository " + repository.name));
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    auto done = follow_jobs(context, jobs, follow);
    if (done.ok() && context.dry_run() && !context.json())
        context.note("This is what a run would do now; nothing was changed.");
    return done;
}

Result<JobView> job_to_its_end(Context& context, Client& client, const std::string& job) {
    TRY(client.follow(job));
    InterruptGuard interrupt;
    while (!client.view(job).ended())
        if (client.wait(std::chrono::milliseconds(1000), interrupt.fd()) == WaitEnd::interrupted)
            return Error(ErrorKind::cancelled, ErrorCode::none, "stopped waiting");
    return client.view(job);
}

Result<ExitCode> audit(Context& context) {
    Client* client = TRY(context.client());
    const auto& words = context.args().positionals();
    RepositoryRef repository = TRY(only_repository(
        *client, words.empty() ? std::optional<std::string>() : std::optional(words[0])));
    TRY(client->watch_jobs());
    const std::string job = TRY(client->audit(repository.object));
    const JobView ended = TRY(job_to_its_end(context, *client, job));
    if (ended.daemon_gone && !ended.finished)
        return Error(ErrorKind::transient, ErrorCode::daemon_unreachable,
                     "backupd went away before the audit ended");
    if (ended.result != "complete")
        return Error(ErrorKind::io, error_code_from_bus(ended.error_name), ended.message);
    const Dict& d = ended.details;
    if (context.json()) {
        JsonObject object = context.object("audit");
        object.add("repository", repository.name);
        for (auto [name, key] : {std::pair{"listed_bytes", "listed-bytes"},
                                 {"live_bytes", "live-bytes"},
                                 {"grace_bytes", "grace-bytes"},
                                 {"orphan_bytes", "orphan-bytes"},
                                 {"waste_bytes", "waste-bytes"},
                                 {"packs", "packs"},
                                 {"missing_packs", "missing-packs"}})
            object.add(name, d.number(key));
        context.print(object);
        return ExitCode::done;
    }
    const Looks& looks = context.looks();
    Table table({{"PART"}, {"SIZE", Column::Align::right}, {"MEANING"}});
    table.add({"live", size_text(d.number("live-bytes"), looks), "revisions need it"});
    table.add({"grace", size_text(d.number("grace-bytes"), looks),
               "nobody needs it; marked, and removed when its time has come"});
    table.add({"orphan", size_text(d.number("orphan-bytes"), looks),
               "nobody needs it; the next collection marks it"});
    table.add({"listed", size_text(d.number("listed-bytes"), looks), "all of it, as listed"});
    context.table(table);
    if (looks.legend && !context.quiet() && d.number("waste-bytes") > 0)
        context.line("Within the live, " + size_text(d.number("waste-bytes"), looks) +
                     " are needed by nobody and share a pack with what is.");
    return ExitCode::done;
}

Result<ExitCode> trash_empty(Context& context) {
    Client* client = TRY(context.client());
    std::map<std::string, std::vector<std::string>> sets;  // by repository
    for (const SetRef& set : TRY(find_sets(*client, context.args().positionals()))) {
        const Dict properties = TRY(client->properties(set.object, "Set"));
        sets[properties.text("Repository")].push_back(set.id);
    }
    if (context.dry_run()) {
        for (const auto& [repository, ids] : sets)
            for (const auto& id : ids) context.line("Would empty the trash of " + id);
        return ExitCode::done;
    }
    TRY(context.confirm("Empty the trash? What is in it cannot be taken back then."));
    TRY(client->watch_jobs());
    std::vector<std::string> jobs;
    for (const auto& [name, ids] : sets) {
        RepositoryRef repository = TRY(find_repository(*client, name));
        Dict options;
        options.set("empty-trash", Value(true));
        options.set("sets", Value(ids));
        jobs.push_back(TRY(client->collect(repository.object, options)));
    }
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    return follow_jobs(context, jobs, follow);
}

}  // namespace

std::vector<Command> gc_commands() {
    const PositionalSpec kRepositories{"REPO", false, true, Completion::repository};
    return {{.verb = "trash empty",
             .summary = "give up what is in the trash, now",
             .description = "The revisions are gone at once; their data is marked, and removed "
                            "after the grace.",
             .positionals = {{"SET", false, true, Completion::set}},
             .stream = true,
             .stream_kind = "gc",
             .run = trash_empty},
            {.verb = "gc",
             .aliases = {"prune"},
             .summary = "remove what no revision needs any more",
             .description =
                 "In two steps: packs that nobody needs are marked, and removed a grace later "
                 "(a day at least), if nobody needs them still. It runs by itself, too (`collect` "
                 "in the repository's file). Backups and restores go on meanwhile.",
             .positionals = {kRepositories},
             .examples = {{"backupctl gc --dry-run", "what would it do?"}},
             .stream = true,
             .stream_kind = "gc",
             .run = gc},
            {.verb = "audit",
             .summary = "where every byte of a repository belongs",
             .description = "Reads all trees and lists the storage: live + grace + orphan = "
                            "listed. Changes nothing.",
             .positionals = {{"REPO", false, false, Completion::repository}},
             .run = audit}};
}

}  // namespace backup
