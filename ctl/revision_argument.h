// How a revision, and a path within one, is named on the command line. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

// "home/7", "home/latest", "7", "latest", a full id or six digits of one or more.
struct RevisionArgument {
    std::string set;       // empty: not named
    std::string revision;  // as the bus takes it: id, prefix, number or "latest"
    bool is_number() const;
    bool is_latest() const { return revision == "latest"; }
    std::string text() const { return set.empty() ? revision : set + "/" + revision; }
};

// ErrorKind::invalid with the forms that are understood.
Result<RevisionArgument> parse_revision_argument(std::string_view text);

// "[REV:]PATH". What begins with '/' or '.' is a path; so is anything whose part before the first
// ':' does not read as a revision.
struct PathArgument {
    std::optional<RevisionArgument> revision;
    std::string path;  // as given; empty after "REV:"
};
PathArgument parse_path_argument(std::string_view text);

// Absolute and normalised, ".." taken back as text: a path in a backup is not looked up on the
// disk.
Result<std::string> absolute_path(std::string_view path, std::string_view current_directory);

}  // namespace backup
