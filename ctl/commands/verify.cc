// verify: is everything there and intact?
#include <cstdlib>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"

namespace backup {

namespace {

Result<Dict> options_of(const Context& context) {
    Dict options;
    auto data = context.args().value("--data");
    if (!data) return options;
    std::string text = *data;
    if (text == "all") text = "100";
    if (!text.empty() && text.back() == '%') text.pop_back();
    char* end = nullptr;
    double percent = std::strtod(text.c_str(), &end);
    bool number =
        !text.empty() && text.find_first_not_of("0123456789.") == std::string::npos && *end == '\0';
    if (!number || percent < 0 || percent > 100)
        return Error(
            ErrorKind::invalid, ErrorCode::invalid_arguments,
            "--data takes a percentage from 0 to 100, or all; not '" + printable(*data) + "'");
    options.set("data-percent", Value(percent));
    return options;
}

Result<ExitCode> run(Context& context) {
    Dict options = TRY(options_of(context));
    Client* client = TRY(context.client());
    TRY(client->watch_jobs());
    std::vector<std::string> jobs;
    auto set = context.args().value("--set");
    const auto& words = context.args().positionals();
    if (!words.empty()) {
        // Revisions of one set are checked in one job.
        std::vector<std::pair<SetRef, std::vector<std::string>>> groups;
        for (const auto& word : words) {
            RevisionArgument argument = TRY(parse_revision_argument(word));
            RevisionRef revision = TRY(find_revision(*client, argument, set));
            bool found = false;
            for (auto& [ref, ids] : groups)
                if (ref.id == revision.set.id) {
                    ids.push_back(revision.id);
                    found = true;
                }
            if (!found) groups.push_back({revision.set, {revision.id}});
        }
        for (const auto& [ref, ids] : groups)
            jobs.push_back(TRY(client->verify(ref.object, ids, options)));
    } else if (set) {
        SetRef named = TRY(find_set(*client, *set));
        jobs.push_back(TRY(client->verify(named.object, {}, options)));
    } else if (auto repository = context.args().value("--repo")) {
        RepositoryRef named = TRY(find_repository(*client, *repository));
        jobs.push_back(TRY(client->check(named.object, options)));
    } else {
        for (const auto& [name, object] : TRY(client->list_repositories()))
            jobs.push_back(TRY_DURING(client->check(object, options), "verify " + name));
        if (jobs.empty())
            return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                         "there is no repository yet\nmake one: backupctl repo init NAME URL "
                         "--generate-password");
    }
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    return follow_jobs(context, jobs, follow);
}

}  // namespace

Command verify_command() {
    return {.verb = "verify",
            .summary = "check that everything is there and intact",
            .description =
                "Checks that all that the revisions need is in the repositories, and with --data "
                "that the stored bytes are what was "
                "stored. Without arguments: every repository. Damage ends with exit 14 and a list.",
            .positionals = {{"REV", false, true, Completion::revision}},
            .options = {{.name = "--data",
                         .value = "PERCENT",
                         .help = "read and check this part of the data, too; all: everything"},
                        {.name = "--repo",
                         .value = "NAME",
                         .help = "only this repository",
                         .completion = Completion::repository},
                        {.name = "--set",
                         .value = "SET",
                         .help = "only what this set stored",
                         .completion = Completion::set}},
            .examples = {{"backupctl verify", "the structure of every repository"},
                         {"backupctl verify --data 5%", "and a sample of the contents"},
                         {"backupctl verify --data all home/7", "all that one revision needs"}},
            .stream = true,
            .stream_kind = "verify",
            .run = run};
}

}  // namespace backup
