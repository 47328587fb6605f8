#include "ctl/resolve.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <set>

#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"
#include "ctl/found_words.h"
#include "ctl/nearest.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

std::string meant(const std::string& word) {
    return word.empty() ? std::string() : "; did you mean '" + word + "'?";
}

std::vector<std::string> names_of(const Client::NamedObjects& objects) {
    std::vector<std::string> names;
    for (const auto& [name, object] : objects) names.push_back(name);
    return names;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

// What is not there may stand in a file that the daemon could not take over.
std::string not_loaded(Client& client) {
    auto manager = client.manager();
    return manager.ok() && manager->text("State") == "error"
               ? "the configuration has a mistake and was not loaded: backupctl config check"
               : "";
}

// Behind "no backup set 'x'": those there are, or how there comes to be one.
std::string others(Client& client, const std::vector<std::string>& names,
                   const std::string& to_make_one) {
    std::string text = names.empty() ? "" : "\nthere are: " + joined(names);
    if (const std::string broken = not_loaded(client); !broken.empty()) return text + "\n" + broken;
    return names.empty() ? "\nthere is none yet; make one: " + to_make_one : text;
}

Error no_such_set(Client& client, const std::string& id, const Client::NamedObjects& sets) {
    std::vector<std::string> names = names_of(sets);
    return {ErrorKind::not_found, ErrorCode::no_such_set,
            "no backup set '" + printable(id) + "'" + meant(nearest(id, names)) +
                others(client, names, "backupctl set create NAME --repo REPO PATH...")};
}

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

}  // namespace

std::string no_set_yet(Client& client) {
    if (std::string broken = not_loaded(client); !broken.empty()) return "No backup set: " + broken;
    return "No backup set yet. Make one: backupctl set create NAME --repo REPO PATH...";
}

Error no_sets(Client& client) {
    const std::string broken = not_loaded(client);
    return {ErrorKind::not_found, ErrorCode::no_such_set,
            broken.empty() ? "there is no backup set yet\nmake one: backupctl set create NAME "
                             "--repo REPO PATH..."
                           : "there is no backup set\n" + broken};
}

Result<std::vector<SetRef>> find_sets(Client& client, const std::vector<std::string>& ids) {
    auto all = TRY(client.list_sets());
    std::vector<SetRef> sets;
    if (ids.empty())
        for (const auto& [id, object] : all) sets.push_back({id, object});
    for (const auto& id : ids) {
        auto it =
            std::find_if(all.begin(), all.end(), [&](const auto& set) { return set.first == id; });
        if (it == all.end()) return no_such_set(client, id, all);
        bool twice =
            std::any_of(sets.begin(), sets.end(), [&](const SetRef& set) { return set.id == id; });
        if (!twice) sets.push_back({it->first, it->second});
    }
    return sets;
}

void warn_of_damage(Context& context, Client& client, const std::vector<SetRef>& sets) {
    std::set<std::string> repositories;
    for (const auto& set : sets)
        if (auto p = client.properties(set.object, "Set"); p.ok())
            repositories.insert(p->text("Repository"));
    for (const auto& name : repositories) {
        auto found = find_repository(client, name);
        if (!found.ok()) continue;
        auto p = client.properties(found->object, "Repository");
        if (p.ok() && p->text("State") == "damaged")
            context.warn("backupctl: the repository " + name +
                         " is damaged, revisions may be missing here; what is wrong: backupctl "
                         "verify");
    }
}

Result<SetRef> find_set(Client& client, const std::string& id) {
    auto sets = TRY(find_sets(client, {id}));
    return sets.front();
}

Result<RepositoryRef> find_repository(Client& client, const std::string& name) {
    auto all = TRY(client.list_repositories());
    for (const auto& [known, object] : all)
        if (known == name) return RepositoryRef{known, object};
    std::vector<std::string> names = names_of(all);
    return Error(ErrorKind::not_found, ErrorCode::no_such_repository,
                 "no repository '" + printable(name) + "'" + meant(nearest(name, names)) +
                     others(client, names, "backupctl repo init NAME URL --generate-password"));
}

Result<RepositoryRef> only_repository(Client& client, const std::optional<std::string>& name) {
    if (name) return find_repository(client, *name);
    auto all = TRY(client.list_repositories());
    if (all.size() == 1) return RepositoryRef{all[0].first, all[0].second};
    if (all.empty()) return find_repository(client, "");
    return usage("there are several repositories; say which one\nthere are: " +
                 joined(names_of(all)));
}

std::string RevisionRef::name() const {
    return number > 0 ? set.id + "/" + std::to_string(number) : id.substr(0, 8);
}

RevisionRef revision_ref(const SetRef& set, const Dict& details) {
    RevisionRef revision;
    revision.set = set;
    revision.id = details.text("id");
    revision.time_usec = details.number("time");
    revision.host = details.text("host");
    // A snapshot of another program, set or host has no number in this set.
    std::string owner = details.text("set");
    if (owner.empty() || owner == set.id) revision.number = details.number("number");
    return revision;
}

std::string describe(const RevisionRef& revision, const Looks& looks) {
    std::string text = revision.name() + " of " + time_text(revision.time_usec, looks);
    return revision.number > 0 ? text + " (" + revision.id.substr(0, 8) + ")" : text;
}

JsonObject revision_object(const Context& context, const RevisionRef& revision) {
    JsonObject object;
    object.add("id", revision.id);
    if (revision.number > 0)
        object.add("number", revision.number);
    else
        object.add_null("number");
    object.add("set", revision.set.id);
    context.add_time(object, "time", revision.time_usec);
    return object;
}

Result<RevisionRef> find_revision(Client& client, const RevisionArgument& argument,
                                  const std::optional<std::string>& set) {
    if (!argument.set.empty() && set && *set != argument.set)
        return usage("'" + argument.text() + "' and --set " + *set + " name different sets");
    std::vector<std::string> named;
    if (!argument.set.empty()) named.push_back(argument.set);
    if (named.empty() && set) named.push_back(*set);
    auto sets = TRY(find_sets(client, named));
    if (sets.empty()) return no_sets(client);
    bool relative = argument.is_number() || argument.is_latest();
    if (relative && sets.size() > 1) {
        std::string examples;
        for (const auto& one : sets)
            examples += (examples.empty() ? "" : ", ") + one.id + "/" + argument.revision;
        return usage("'" + argument.revision +
                     "' could be a revision of any set; say which\none of: " + examples);
    }
    std::optional<Error> problem;
    for (const auto& one : sets) {
        auto details = client.revision(one.object, argument.revision);
        if (details.ok()) {
            SetRef owner = one;
            for (const auto& other : sets)
                if (other.id == details->text("set")) owner = other;
            return revision_ref(owner, *details);
        }
        bool unknown = details.error().code() == ErrorCode::no_such_revision;
        // "Not here" is the least telling answer of several.
        if (!problem || (problem->code() == ErrorCode::no_such_revision && !unknown))
            problem = std::move(details).error();
    }
    if (problem->code() == ErrorCode::no_such_revision)
        return Error(ErrorKind::not_found, ErrorCode::no_such_revision,
                     problem->message() + "\nlist them: backupctl revisions" +
                         (sets.size() == 1 ? " " + sets[0].id : "") +
                         " (--foreign for those of others)");
    return *problem;
}

Result<Selection> selection_of(const Context& context,
                               const std::optional<RevisionArgument>& revision) {
    Selection selection;
    selection.revision = revision;
    selection.at = context.args().value("--at");
    selection.set = context.args().value("--set");
    selection.host = context.args().value("--host");
    if (auto named = context.args().value("--revision")) {
        if (revision)
            return usage("the revision was given twice: " + revision->text() + ": and --revision");
        selection.revision = TRY(parse_revision_argument(*named));
    }
    if (selection.revision && selection.at) return usage("a revision and --at exclude each other");
    if (selection.revision && selection.host)
        return usage("a revision and --host exclude each other");
    return selection;
}

namespace {

// How well a set covers the path: the length of its innermost path that does, or nothing.
std::optional<std::size_t> coverage(const std::vector<std::string>& paths,
                                    const std::string& path) {
    auto wanted = Path::parse(path);
    std::optional<std::size_t> best;
    for (const auto& text : paths) {
        auto own = Path::parse(text);
        if (!own.ok() || !wanted.ok()) continue;
        if (wanted->is_inside(*own)) best = std::max(best.value_or(0), own->text().size());
        // A folder above the set's paths: shown as far as the set reaches.
        if (!best && own->is_inside(*wanted)) best = 0;
    }
    return best;
}

// The configuration of a machine's set is for administrators: others know it by what they could
// have seen of its last revision.
Result<std::vector<std::string>> paths_of_set(Client& client, const SetRef& set) {
    auto configuration = client.set_configuration(set.object, false);
    if (configuration.ok()) return configuration->config.file_names("paths");
    if (configuration.error().code() != ErrorCode::access_denied &&
        configuration.error().code() != ErrorCode::consent_needed)
        return std::move(configuration).error();
    auto revision = client.revision(set.object, "latest");
    if (revision.ok()) return revision->file_names("paths");
    if (revision.error().code() != ErrorCode::no_such_revision) return std::move(revision).error();
    return std::vector<std::string>();
}

// The sets that cover the path best; several when they share the path.
Result<std::vector<SetRef>> sets_for_path(Client& client, const std::string& path) {
    auto sets = TRY(find_sets(client, {}));
    if (sets.empty()) return no_sets(client);
    if (sets.size() == 1) return sets;
    std::vector<SetRef> best;
    std::size_t most = 0;
    std::optional<Error> problem;
    for (const auto& set : sets) {
        auto paths = paths_of_set(client, set);
        if (!paths.ok()) {
            problem = std::move(paths).error();
            continue;
        }
        auto covers = coverage(*paths, path);
        if (!covers || (!best.empty() && *covers < most)) continue;
        if (best.empty() || *covers > most) best.clear();
        most = *covers;
        best.push_back(set);
    }
    if (!best.empty()) return best;
    if (problem) return *problem;
    std::string names;
    for (const auto& set : sets) names += (names.empty() ? "" : ", ") + set.id;
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "no backup set covers " + printable(path) +
                     "\nif one did once, name it with --set; there are: " + names);
}

bool covers_path(Client& client, const SetRef& set, const Dict& listed, const std::string& path) {
    auto details = client.revision(set.object, listed.text("id"));
    return details.ok() && coverage(details->file_names("paths"), path).has_value();
}

// The newest complete revision of the set not later than `until`.
Result<std::optional<RevisionRef>> newest(Client& client, const SetRef& set,
                                          const std::string& path, std::optional<Timestamp> until,
                                          const std::optional<std::string>& host) {
    constexpr std::uint32_t kLooked =
        100;  // revisions of another machine whose paths are asked for
    Dict options;
    options.set("limit", Value(std::uint32_t{host ? kLooked : 1}));
    if (until) options.set("at", Value(to_usec(*until)));
    if (host) {
        options.set("host", Value(*host));
        options.set("foreign", Value(true));
    }
    auto revisions = TRY(client.list_revisions(set.object, "Set", options));
    for (const auto& listed : revisions.list)
        if (!host || covers_path(client, set, listed, path))
            return std::optional(revision_ref(set, listed));
    return std::optional<RevisionRef>();
}

Result<RevisionRef> choose(Context& context, Client& client, const std::string& path,
                           const Selection& selection) {
    std::vector<SetRef> sets;
    std::string named = selection.set.value_or(selection.revision ? selection.revision->set : "");
    if (selection.revision) {
        bool relative = selection.revision->is_number() || selection.revision->is_latest();
        if (named.empty() && relative) {
            sets = TRY(sets_for_path(client, path));
            if (sets.size() == 1) return find_revision(client, *selection.revision, sets[0].id);
        }
        return find_revision(client, *selection.revision, selection.set);
    }
    if (!named.empty())
        sets.push_back(TRY(find_set(client, named)));
    else if (selection.host)
        sets = TRY(find_sets(client, {}));
    else
        sets = TRY(sets_for_path(client, path));
    if (sets.empty()) return no_sets(client);
    std::optional<Timestamp> until;
    if (selection.at) {
        TimeSpan span = TRY(parse_time_words(*selection.at, context.now()));
        if (!span.latest) until = span.last;
    }
    std::optional<RevisionRef> best;
    for (const auto& set : sets) {
        auto found = TRY(newest(client, set, path, until, selection.host));
        if (found && (!best || found->time_usec > best->time_usec)) best = found;
    }
    if (best) return *best;
    std::string names;
    for (const auto& set : sets) names += (names.empty() ? "" : ", ") + set.id;
    std::string message = "no complete revision of " + names;
    if (selection.host)
        message += " from host " + printable(*selection.host) + " that covers " + printable(path);
    if (until) message += " up to " + time_text(to_usec(*until), context.looks());
    return Error(ErrorKind::not_found, ErrorCode::no_such_revision,
                 message + "\nlist what there is: backupctl revisions" +
                     (selection.host ? " --foreign" : ""));
}

}  // namespace

Result<RevisionRef> choose_revision(Context& context, Client& client, const std::string& path,
                                    const Selection& selection) {
    Result<RevisionRef> chosen = choose(context, client, path, selection);
    if (!chosen.ok() && chosen.error().code() == ErrorCode::no_such_revision)
        if (auto sets = find_sets(client, {}); sets.ok()) warn_of_damage(context, client, *sets);
    return chosen;
}

Result<std::vector<SetRef>> sets_covering(Client& client, const std::string& path) {
    return sets_for_path(client, path);
}

std::string history_hint(const std::string& path) {
    return "was it there once? backupctl history " + shell_word(path);
}

Error with_history_hint(Error error, const std::string& path) {
    if (error.code() != ErrorCode::no_such_path) return error;
    return {error.kind(), error.code(), error.message() + "\n" + history_hint(path)};
}

Result<std::string> absolute_here(std::string_view path) {
    std::array<char, PATH_MAX> directory{};
    const char* current = ::getcwd(directory.data(), directory.size());
    return absolute_path(path, current == nullptr ? "" : current);
}

namespace {
Result<std::string> read_all(const std::string& file) {
    UniqueFd opened;
    int fd = STDIN_FILENO;
    if (file != "-") {
        opened = UniqueFd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!opened)
            return Error::from_errno(errno, "read " + printable(file))
                .with_code(ErrorCode::invalid_arguments);
        fd = opened.get();
    }
    std::string text;
    std::array<char, 65536> buffer{};
    while (true) {
        ssize_t n = ::read(fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "read " + printable(file));
        if (n == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(n));
    }
}
}  // namespace

Result<std::vector<std::string>> paths_of(const Context& context,
                                          const std::vector<std::string>& positionals) {
    std::vector<std::string> names = positionals;
    if (auto file = context.args().value("--files-from")) {
        std::string text = TRY(read_all(*file));
        char end = context.null_terminated() ? '\0' : '\n';
        std::size_t at = 0;
        while (at < text.size()) {
            std::size_t stop = std::min(text.find(end, at), text.size());
            if (stop > at) names.push_back(text.substr(at, stop - at));
            at = stop + 1;
        }
        if (names.empty()) return usage("--files-from " + printable(*file) + " names no path");
    }
    std::vector<std::string> paths;
    for (const auto& name : names) paths.push_back(TRY(absolute_here(name)));
    return paths;
}

}  // namespace backup
