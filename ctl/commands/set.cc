// set: what is backed up, and how.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>

#include <sys/stat.h>

#include "common/path.h"
#include "ctl/commands/commands.h"
#include "ctl/context.h"
#include "ctl/limit_words.h"
#include "ctl/resolve.h"
#include "ctl/set_words.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

// What `set create` leaves out unless told otherwise.
constexpr const char* kUsualPreset = "caches";
constexpr std::uint64_t kLongestPreview = 10;  // seconds
constexpr std::uint64_t kLongestSimulation = 3600;

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

std::vector<FileName> to_names(const std::vector<std::string>& texts) {
    std::vector<FileName> names;
    for (const auto& text : texts) names.push_back({text});
    return names;
}

Result<ExitCode> list(Context& context) {
    Client* client = TRY(context.client());
    std::vector<JsonObject> objects;
    Table table({{"SET"},
                 {"REPOSITORY"},
                 {"STATE"},
                 {"REVISIONS", Column::Align::right},
                 {"LAST SUCCESS"},
                 {"PATHS", Column::Align::left, Column::Fit::shrink_end}});
    for (const auto& set : TRY(find_sets(*client, {}))) {
        Dict p = TRY(client->properties(set.object, "Set"));
        auto configuration =
            client->set_configuration(set.object);  // others' sets are not ours to read
        std::string paths;
        if (configuration.ok())
            for (const auto& path : configuration->config.file_names("paths"))
                paths += (paths.empty() ? "" : ", ") + printable(path);
        JsonObject object =
            configuration.ok() ? config_object(configuration->config) : JsonObject();
        JsonObject entry;
        entry.add("id", set.id)
            .add("repository", p.text("Repository"))
            .add("state", p.text("State"))
            .add("revisions", p.number("RevisionCount"));
        context.add_time(entry, "last_success", p.number("LastSuccessUSec"));
        if (configuration.ok()) entry.add("config", object);
        objects.push_back(entry);
        table.add({set.id, p.text("Repository"), p.text("State"),
                   count_text(p.number("RevisionCount")),
                   time_text(p.number("LastSuccessUSec"), context.looks()), paths});
    }
    if (context.json()) {
        context.print(context.object("sets").add("sets", objects));
        return ExitCode::done;
    }
    if (table.empty()) context.note(no_set_yet(*client));
    context.table(table);
    return ExitCode::done;
}

Result<ExitCode> show(Context& context) {
    Client* client = TRY(context.client());
    SetRef set = TRY(find_set(*client, context.args().positionals()[0]));
    auto configuration = TRY(client->set_configuration(set.object));
    if (context.json())
        context.print(context.object("set")
                          .add("id", set.id)
                          .add("generation", configuration.generation)
                          .add("config", config_object(configuration.config)));
    else
        print_config(context, set.id, configuration.config);
    return ExitCode::done;
}

// A set outlives the shell it was made in: its paths are whole.
Result<> check_path(Context& context, const std::string& text) {
    if (text.empty() || text[0] != '/') {
        auto absolute = absolute_here(text);
        return usage("the paths of a set are absolute; '" + printable(text) + "' is not" +
                     (absolute.ok() ? "\ndid you mean " + printable(*absolute) + "?" : ""));
    }
    TRY(Path::parse(text));
    struct stat status {};
    if (::lstat(text.c_str(), &status) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            context.note(printable(text) +
                         " does not exist now; until it does, each run has that as an exception");
        return {};
    }
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(text.c_str(), nullptr),
                                                           std::free);
    if (S_ISLNK(status.st_mode))
        context.warn(printable(text) +
                     " is a symbolic link: the link is kept, what it leads to is not" +
                     (real ? "; to protect that, name it: " + printable(real.get()) : ""));
    else if (real && text != real.get())
        context.note("a symbolic link leads to " + printable(text) +
                     "; its changes are found sooner if you name the place itself: " +
                     printable(real.get()));
    return {};
}

Result<ExitCode> create(Context& context) {
    const auto& words = context.args().positionals();
    std::vector<std::string> paths(words.begin() + 1, words.end());
    if (paths.empty())
        return usage("set create needs at least one PATH\nusage: " +
                     usage_line(*find_command("set create")));
    for (const auto& path : paths) TRY(check_path(context, path));
    Dict config = TRY(settings_of(context));
    Client* client = TRY(context.client());
    if (!config.has("repository"))
        return usage("set create needs --repo REPO\nlist them: backupctl repo list");
    TRY(find_repository(*client, config.text("repository")));
    config.set("paths", Value(to_names(paths)));
    if (context.args().flag("--exclude"))
        config.set("exclude", Value(context.args().values("--exclude")));
    limit_settings(context.args(), "", config);
    if (!config.has("presets"))
        config.set("presets", Value(std::vector<std::string>{kUsualPreset}));
    // Before it is there: what it will be.
    std::optional<Simulated> preview;
    if (!context.quiet()) {
        auto simulated = simulate_set(context, *client, words[0], config, kLongestPreview);
        // One that cannot be made is refused below, with the reason.
        if (simulated.ok()) preview = std::move(*simulated);
        if (preview && !context.json())
            for (const auto& text : preview->text) context.line(text);
    }
    Dict options;
    if (context.dry_run()) options.set("dry-run", Value(true));
    TRY(client->create_set(words[0], config, options));
    if (context.json()) {
        JsonObject object = context.object("set");
        object.add("id", words[0]).add("created", !context.dry_run());
        if (preview) object.add("preview", simulation_object(*preview));
        context.print(object);
    } else if (context.dry_run()) {
        context.line("The set " + words[0] + " would be accepted as it is.");
    } else {
        context.note("Made the set " + words[0] + ".");
        context.note(
            "Back it up now: backupctl run " + words[0] +
            (config.has("automatic") && !config.flag("automatic") &&
                     config.number("interval-usec") == 0
                 ? "      (it does not run by itself: set edit " + words[0] + " --automatic)"
                 : ""));
    }
    return ExitCode::done;
}

// Adds and removes entries of a list; what is to be removed must be there.
Result<bool> change_list(std::vector<std::string>& values, const std::vector<std::string>& add,
                         const std::vector<std::string>& remove, const std::string& what) {
    for (const auto& value : remove) {
        auto it = std::find(values.begin(), values.end(), value);
        if (it == values.end())
            return Error(
                ErrorKind::not_found, ErrorCode::no_such_path,
                "the set has no " + what + " '" + printable(value) + "'; nothing was changed");
        values.erase(it);
    }
    for (const auto& value : add)
        if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    return !add.empty() || !remove.empty();
}

Result<ExitCode> edit(Context& context) {
    const Arguments& args = context.args();
    Dict changes = TRY(settings_of(context));
    auto added = args.values("--add-path");
    for (const auto& path : added) TRY(check_path(context, path));
    Client* client = TRY(context.client());
    SetRef set = TRY(find_set(*client, args.positionals()[0]));
    auto configuration = TRY(client->set_configuration(set.object));
    auto paths = configuration.config.file_names("paths");
    if (TRY(change_list(paths, added, args.values("--remove-path"), "path"))) {
        if (paths.empty())
            return usage(
                "a set needs at least one path; remove the set instead: backupctl set remove " +
                set.id);
        changes.set("paths", Value(to_names(paths)));
    }
    limit_settings(args, configuration.config.text("limits"), changes);
    auto patterns = configuration.config.texts("exclude");
    if (TRY(change_list(patterns, args.values("--exclude"), args.values("--no-exclude"),
                        "exclude")))
        changes.set("exclude", Value(patterns));
    if (changes.has("repository")) TRY(find_repository(*client, changes.text("repository")));
    if (changes.empty())
        return usage("nothing to change\nusage: " + usage_line(*find_command("set edit")) +
                     "\nor edit its file and run: backupctl config reload");
    Dict options;
    if (context.dry_run()) options.set("dry-run", Value(true));
    TRY(client->configure(set.object, changes, configuration.generation, options));
    auto after =
        context.dry_run() ? std::move(configuration) : TRY(client->set_configuration(set.object));
    if (context.json())
        context.print(context.object("set")
                          .add("id", set.id)
                          .add("generation", after.generation)
                          .add("config", config_object(after.config)));
    else if (context.dry_run())
        context.line("The changes would be accepted.");
    else if (!context.quiet())
        print_config(context, set.id, after.config);
    return ExitCode::done;
}

struct Line {
    std::uint64_t revisions = 0, last_number = 0;
};

// What the set's repository has of other hosts and sets, by "HOST/SET".
Result<std::map<std::string, Line>> other_lines(Client& client, const SetRef& set) {
    std::map<std::string, Line> lines;
    Dict options;
    options.set("foreign", Value(true));
    options.set("state", Value(std::string("any")));
    options.set("limit", Value(std::uint32_t{500}));
    for (;;) {
        auto page = TRY(client.list_revisions(set.object, "Set", options));
        for (const Dict& revision : page.list) {
            if (revision.text("set").empty()) continue;
            Line& line = lines[revision.text("host") + "/" + revision.text("set")];
            ++line.revisions;
            line.last_number = std::max(line.last_number, revision.number("number"));
        }
        if (page.next_page.empty()) return lines;
        options.set("page", Value(page.next_page));
    }
}

Result<ExitCode> adopt(Context& context) {
    const auto& names = context.args().positionals();
    Client* client = TRY(context.client());
    const SetRef set = TRY(find_set(*client, names[0]));
    const auto lines = TRY(other_lines(*client, set));
    if (names.size() < 2) {
        std::vector<JsonObject> objects;
        for (const auto& [name, line] : lines) {
            if (!context.json())
                context.line(printable(name) + "  " +
                             count_text(line.revisions, "revision", "revisions"));
            objects.push_back(JsonObject()
                                  .add("line", name)
                                  .add("revisions", line.revisions)
                                  .add("last_number", line.last_number));
        }
        if (context.json())
            context.print(context.object("lines").add("set", set.id).add("lines", objects));
        return ExitCode::done;
    }
    const std::string from =
        names[1].find('/') == std::string::npos ? names[1] + "/" + set.id : names[1];
    auto found = lines.find(from);
    if (found == lines.end())
        return Error(ErrorKind::not_found, ErrorCode::no_such_revision,
                     "the repository of " + set.id + " has no revisions of " + printable(from) +
                         "\nbackupctl set adopt " + set.id + " lists what it has");
    auto current = TRY(client->set_configuration(set.object));
    std::vector<std::string> adopted = current.config.texts("adopt");
    if (std::find(adopted.begin(), adopted.end(), from) == adopted.end()) adopted.push_back(from);
    if (!context.dry_run()) {
        Dict changes;
        changes.set("adopt", Value(adopted));
        TRY(client->configure(set.object, changes, current.generation, {}));
    }
    if (context.json())
        context.print(context.object("adopt")
                          .add("set", set.id)
                          .add("line", from)
                          .add("revisions", found->second.revisions)
                          .add("last_number", found->second.last_number));
    else if (!context.quiet())
        context.line(set.id + " goes on with " +
                     count_text(found->second.revisions, "revision", "revisions") + " of " +
                     printable(from));
    return ExitCode::done;
}

Result<ExitCode> remove(Context& context) {
    Client* client = TRY(context.client());
    SetRef set = TRY(find_set(*client, context.args().positionals()[0]));
    if (context.dry_run()) {
        context.line("Would remove the set " + set.id + "; its revisions stay in the repository.");
        return ExitCode::done;
    }
    TRY(context.confirm("Remove the set " + set.id +
                        "? It will not be backed up any more; its revisions stay."));
    TRY(client->delete_set(set.id));
    if (context.json())
        context.print(context.object("set").add("id", set.id).add("removed", true));
    else
        context.note("Removed the set " + set.id + ". Its revisions are still in the repository.");
    return ExitCode::done;
}

Result<ExitCode> check(Context& context) {
    Client* client = TRY(context.client());
    std::vector<JsonObject> objects;
    bool good = true, is_hit = false;
    const bool simulates = context.args().flag("--simulate");
    for (const auto& set : TRY(find_sets(*client, context.args().positionals()))) {
        auto configuration = TRY(client->set_configuration(set.object));
        Dict dry;
        dry.set("dry-run", Value(true));
        auto accepted =
            client->configure(set.object, configuration.config, configuration.generation, dry);
        std::vector<std::string> problems;
        if (!accepted.ok()) problems.push_back(accepted.error().message());
        for (const auto& path : configuration.config.file_names("paths")) {
            struct stat status {};
            if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT)
                problems.push_back(printable(path) + " does not exist");
        }
        good = good && problems.empty();
        JsonObject object = JsonObject().add("id", set.id).add("problems", problems);
        std::optional<Simulated> simulated;
        if (simulates) {
            simulated = TRY(simulate_set(context, *client, set.id, {}, kLongestSimulation));
            object.add("simulation", simulation_object(*simulated));
            is_hit = is_hit || simulated->is_hit;
        }
        objects.push_back(object);
        if (context.json()) continue;
        if (problems.empty())
            context.line(
                set.id + ": " +
                paint(context.looks().unicode ? "✓ good" : "good", Tone::good, context.looks()));
        for (const auto& problem : problems)
            context.line(set.id + ": " + paint(problem, Tone::bad, context.looks()));
        if (simulated)
            for (const auto& text : simulated->text) context.line("  " + text);
    }
    if (context.json())
        context.print(context.object("set-check").add("good", good).add("sets", objects));
    return !good ? ExitCode::usage : is_hit ? ExitCode::limit : ExitCode::done;
}

}  // namespace

std::vector<Command> set_commands() {
    auto edit_options = setting_options();
    edit_options.insert(edit_options.begin() + 2, {{.name = "--no-exclude",
                                                    .value = "PATTERN",
                                                    .help = "remove this pattern",
                                                    .repeat = true},
                                                   {.name = "--add-path",
                                                    .value = "PATH",
                                                    .help = "protect this path, too",
                                                    .repeat = true,
                                                    .completion = Completion::file},
                                                   {.name = "--remove-path",
                                                    .value = "PATH",
                                                    .help = "stop protecting this path",
                                                    .repeat = true,
                                                    .completion = Completion::file}});
    const PositionalSpec kSet = {"SET", true, false, Completion::set};
    return {
        {.verb = "set list", .summary = "what is backed up", .run = list},
        {.verb = "set show",
         .summary = "the settings of one set",
         .positionals = {kSet},
         .run = show},
        {.verb = "set create",
         .summary = "protect paths",
         .description =
             "Makes a backup set: paths that are backed up together into one repository. First it "
             "shows what would be protected and what is left out, with sizes; -n shows that alone. "
             "Caches are left out unless --preset says otherwise.",
         .positionals = {{"NAME"}, {"PATH", true, true, Completion::directory}},
         .options = setting_options(),
         .examples =
             {{"backupctl set create home --repo disk /home --exclude '*.tmp' --min-interval 1h",
               "when files changed, at most every hour"},
              {"backupctl set create etc --repo disk /etc /usr/local/etc -n",
               "would it be accepted, and what would it hold?"},
              {"backupctl set create home --repo disk /home --limit bytes=500GiB "
               "--limit soft-items=2000000",
               "not more than that, and tell when it grows"}},
         .run = create},
        {.verb = "set edit",
         .summary = "change the settings of a set",
         .positionals = {kSet},
         .options = edit_options,
         .examples = {{"backupctl set edit home --exclude node_modules/ --min-interval 30min",
                       "only what is named changes"}},
         .run = edit},
        {.verb = "set adopt",
         .summary = "go on with the revisions of another name",
         .description =
             "After the machine or the set was renamed: the set takes over the revisions that were "
             "made as HOST/SET (HOST alone: under the set's own name). Numbers go on, the next "
             "revision continues the newest of them, the rules of the set are theirs too. Without "
             "HOST it lists what its repository has under other names.",
         .positionals = {kSet, {"HOST[/SET]", false, false, Completion::nothing}},
         .examples = {{"backupctl set adopt home old-laptop", "this machine was old-laptop"},
                      {"backupctl set adopt documents laptop/docs", "the set was called docs"}},
         .run = adopt},
        {.verb = "set remove",
         .summary = "stop protecting; stored revisions stay",
         .positionals = {kSet},
         .run = remove},
        {.verb = "set check",
         .summary = "are the settings good, do the paths exist?",
         .description = "With --simulate it looks at the metadata of the source and says what a "
                        "run would take in now, what each rule leaves out, and what is beyond the "
                        "set's limits; then the exit code is 8. Nothing is stored.",
         .positionals = {{"SET", false, true, Completion::set}},
         .options = {{.name = "--simulate",
                      .help = "say what a run would take in and leave out, with sizes"}},
         .examples = {{"backupctl set check home --simulate", "what would the limits do?"}},
         .run = check}};
}

}  // namespace backup
