// Keys and values of the index of history. Pure; any thread.
//
//     key                                    value
//     V                                      version of the format
//     c                                      the next number of a line
//     l <repository> \0 <host> \0 <set>...   LineRecord
//     r <line> <ordinal>                     RevisionRecord
//     d <line> <directory>                   DirectoryRecord
//     n <line> <directory> <name>            NameRecord: the newest version of a path
//     v <line> <directory> <name> \0 <~first>  Version: the older ones, newest first
//     x <line>                               empty: a line that is given up and not yet cleared
//
// Lines, ordinals and directories are numbers in 4 bytes, big endian, so that they sort. A path is
// the number of its directory and a name, so a directory's names stand together in the order of
// trees: feeding merges the two, and finding by name reads one stretch of keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/id.h"
#include "daemon/history/version.h"

namespace backup::history {

using LineId = std::uint32_t;
using DirectoryId = std::uint32_t;
inline constexpr DirectoryId kRoot = 1;

struct LineRecord {
    LineId id = 0;
    Ordinal fed = 0;   // up to this one everything is in the index
    Ordinal next = 1;  // ordinals are not given twice
    DirectoryId next_directory = kRoot + 1;
    // What the newest revision that was ever fed is sorted by.
    std::uint64_t last_number = 0;
    Timestamp last_time{};
    std::uint64_t gone = 0;  // revisions that vanished since the index was swept
};

struct RevisionRecord {
    RevisionId identity, id;
    std::uint64_t number = 0;
    Timestamp time{};
    bool hidden = false;  // in the trash
    bool operator==(const RevisionRecord&) const = default;
};

struct DirectoryRecord {
    DirectoryId parent = 0;
    std::string name;
    // The tree that its open versions agree with, and those of everything below. Nothing: being
    // fed, or gone.
    std::optional<BlobId> tree;
};

struct NameRecord {
    DirectoryId directory = 0;  // its number as a directory, if it ever was one
    std::uint32_t older = 0;    // versions besides this one
    Version version;
};

std::string number_key(char kind, LineId line);
std::string number_key(char kind, LineId line, std::uint32_t number);
std::string name_key(LineId line, DirectoryId directory, std::string_view name);
// What the older versions of a name begin with.
std::string older_prefix(LineId line, DirectoryId directory, std::string_view name);
std::string older_key(LineId line, DirectoryId directory, std::string_view name, Ordinal first);
std::uint32_t load_be32(std::string_view from);  // at least 4 bytes

std::string encode(const LineRecord& record);
std::string encode(const RevisionRecord& record);
std::string encode(const DirectoryRecord& record);
void encode(std::string& to, const NameRecord& record);  // replaces what is in `to`
// False for what encode() cannot have made.
bool decode(std::string_view value, LineRecord& record);
bool decode(std::string_view value, RevisionRecord& record);
bool decode(std::string_view value, DirectoryRecord& record);
bool decode(std::string_view value, NameRecord& record);
bool decode(std::string_view value, Version& version);

Error damaged();

}  // namespace backup::history
