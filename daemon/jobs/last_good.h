// The last good version of a path that could not be read when a revision was made. Blocking (trees
// of earlier revisions); never on the loop.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/jobs/catalog.h"

namespace backup {

// "home/7", or eight digits of the id where there is no number.
std::string name_of(const Revision& revision);
// As people who ask about this set may call it: one that the set adopted has its name.
std::string name_of(const Revision& revision, const SetOnHost& asked);

// Whether the revision says that it could not be read, it or a directory above it.
bool is_missing(const Revision& revision, const std::string& path);
// Paths at or below this one that it says so of.
std::size_t missing_below(const Revision& revision, const std::string& path);

// The newest earlier revision of the same line that has the path; nothing: `from` does not say that
// it could not be read, or none has it. `asked`: the set that somebody asks about, for what it has
// adopted is its own.
Result<std::optional<Revision>> last_good(Repository& repository,
                                          const std::vector<Revision>& newest_first,
                                          const SetOnHost& asked, const Revision& from,
                                          const std::string& path);

}  // namespace backup
