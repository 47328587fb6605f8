// drill: files given back for a try.
#include <algorithm>
#include <cstdlib>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/follow.h"
#include "ctl/resolve.h"
#include "ctl/sizes.h"

namespace backup {

namespace {

Result<Dict> options_of(const Context& context) {
    Dict options;
    if (auto files = context.args().value("--files")) {
        char* end = nullptr;
        const std::uint64_t count = std::strtoull(files->c_str(), &end, 10);
        if (files->empty() || *end != '\0' || (*files)[0] == '-' || count == 0)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "--files takes a number from 1 on, not '" + printable(*files) + "'");
        options.set("files", Value(count));
    }
    if (auto bytes = context.args().value("--size"))
        options.set("bytes", Value(TRY_DURING(parse_size(*bytes), "--size")));
    return options;
}

struct Drilled {
    SetRef set;
    std::vector<std::string> paths;
};

// A word with a slash is a path, and so is what is no set's name.
Result<std::vector<Drilled>> plan(const Context& context, Client& client) {
    std::vector<Drilled> list;
    const auto add = [&](const SetRef& set, const std::string& path) {
        auto known =
            std::ranges::find_if(list, [&](const Drilled& one) { return one.set.id == set.id; });
        if (known == list.end()) known = list.insert(list.end(), {set, {}});
        if (!path.empty()) known->paths.push_back(path);
    };
    const auto all = TRY(find_sets(client, {}));
    const auto named = context.args().value("--set");
    const auto& words = context.args().positionals();
    for (const auto& word : words) {
        const auto set = std::ranges::find(all, word, &SetRef::id);
        if (set != all.end() && !named) {
            add(*set, "");
            continue;
        }
        const std::string path = TRY(absolute_here(word));
        const auto sets = named ? std::vector<SetRef>{TRY(find_set(client, *named))}
                                : TRY(sets_covering(client, path));
        for (const SetRef& one : sets) add(one, path);
    }
    if (words.empty() && named) add(TRY(find_set(client, *named)), "");
    if (!list.empty()) return list;
    for (const SetRef& set : all) {
        auto properties = client.properties(set.object, "Set");
        // One that has nothing yet has nothing to try. How many revisions there are is not known
        // yet right after the daemon's start.
        if (properties.ok() &&
            (properties->number("RevisionCount") > 0 || properties->number("LastSuccessUSec") > 0))
            add(set, "");
    }
    if (list.empty())
        return Error(ErrorKind::not_found, ErrorCode::no_such_revision,
                     "there is no revision yet that could be tried\nmake one: backupctl run");
    return list;
}

Result<ExitCode> run(Context& context) {
    const Dict options = TRY(options_of(context));
    Client* client = TRY(context.client());
    TRY(client->watch_jobs());
    std::vector<std::string> jobs;
    for (const Drilled& one : TRY(plan(context, *client)))
        jobs.push_back(TRY_DURING(client->drill(one.set.object, one.paths, options),
                                  "drill of set '" + one.set.id + "'"));
    FollowOptions follow;
    follow.wait = context.wait_mode() != WaitMode::no_wait;
    return follow_jobs(context, jobs, follow);
}

}  // namespace

Command drill_command() {
    return {.verb = "drill",
            .summary = "give files back for a try, and look whether they are as they were",
            .description =
                "Gives files of the newest revision back into a folder of the daemon's own, looks "
                "at bytes and metadata, compares them with the files on disk that are known to be "
                "unchanged, and removes them again. Without paths: so many as the set says, chosen "
                "at random, of every set or of those that are named. Nothing of yours is touched. "
                "Something that is not as it was ends with exit 14, a list, and the older versions "
                "that are intact. Sets do this by themselves (set edit --drill).",
            .positionals = {{"SET|PATH", false, true, Completion::set}},
            .options = {{.name = "--files", .value = "N", .help = "so many files"},
                        {.name = "--size",
                         .value = "SIZE",
                         .help = "so much in all (1GiB); larger files are passed over"},
                        {.name = "--set",
                         .value = "SET",
                         .help = "of this set",
                         .completion = Completion::set}},
            .examples = {{"backupctl drill", "a sample of every set"},
                         {"backupctl drill home --files 1000 --size 10GiB", "a large one"},
                         {"backupctl drill ~/photos", "a sample of one folder"}},
            .stream = true,
            .stream_kind = "drill",
            .run = run};
}

}  // namespace backup
