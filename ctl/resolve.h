// From what a person names (a set, a path, a time, a revision) to what the bus wants. Asks the
// daemon. Main thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ctl/context.h"
#include "ctl/revision_argument.h"

namespace backup {

struct SetRef {
    std::string id, object;
};
struct RepositoryRef {
    std::string name, object;
};

// no_such_set with the nearest name.
Result<SetRef> find_set(Client& client, const std::string& id);
// All of them, or those named.
Result<std::vector<SetRef>> find_sets(Client& client, const std::vector<std::string>& ids);
// Where there is no set at all: how to make one, or that the configuration could not be loaded. As
// a sentence beside other things, and as an error.
std::string no_set_yet(Client& client);
Error no_sets(Client& client);
// Where one of their repositories is damaged: revisions may be missing from what is told, and the
// newest one may not be the newest that was made.
void warn_of_damage(Context& context, Client& client, const std::vector<SetRef>& sets);
Result<RepositoryRef> find_repository(Client& client, const std::string& name);
// The one named, or the only one there is.
Result<RepositoryRef> only_repository(Client& client, const std::optional<std::string>& name);

struct RevisionRef {
    SetRef set;
    std::string id;  // 64 digits
    std::uint64_t number = 0;
    std::uint64_t time_usec = 0;
    std::string host;
    std::string name() const;  // "home/7", or eight digits of the id where there is no number
};
RevisionRef revision_ref(const SetRef& set, const Dict& details);
// "home/7 of 2026-11-20 09:30:12 (1a2b3c4d)"
std::string describe(const RevisionRef& revision, const Looks& looks);
JsonObject revision_object(const Context& context, const RevisionRef& revision);

// Within the named set; else in the set that `set` gives, the only set, or whichever set knows it.
Result<RevisionRef> find_revision(Client& client, const RevisionArgument& argument,
                                  const std::optional<std::string>& set);

// What --revision, --at, --set and --host say about one path.
struct Selection {
    std::optional<RevisionArgument> revision;
    std::optional<std::string> at, set, host;
};
// The options of that name; the REV of "REV:PATH" counts as --revision.
Result<Selection> selection_of(const Context& context,
                               const std::optional<RevisionArgument>& revision);
// The set is chosen by the path where nothing else says it: the innermost one that covers it.
Result<RevisionRef> choose_revision(Context& context, Client& client, const std::string& path,
                                    const Selection& selection);

// The sets that cover the path best; an error when none does.
Result<std::vector<SetRef>> sets_covering(Client& client, const std::string& path);

// Behind an error that says that a revision does not have the path: it may have been there once.
Error with_history_hint(Error error, const std::string& path);
std::string history_hint(const std::string& path);

// Relative paths are below the current directory.
Result<std::string> absolute_here(std::string_view path);
// Positionals and --files-from.
Result<std::vector<std::string>> paths_of(const Context& context,
                                          const std::vector<std::string>& positionals);

}  // namespace backup
