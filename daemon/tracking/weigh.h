// weigh() tells how much waits: the bytes that the marks of a set name, and which marks turned out
// to be of nothing (a name that came and went, and that the revision never had). It looks at a
// bounded number of names, whatever waits, and reckons the rest from them. Blocking; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "daemon/queue/change_queue.h"
#include "daemon/tracking/look_at_changes.h"

namespace backup {

// Some of what waits, evenly chosen: every name, if they are few.
struct WaitingSample {
    struct Name {
        VolumeId volume;
        ObjectHandle directory;
        std::string name;  // empty: the entries of the directory
        Generation generation = 0;
        bool may_be_nothing = false;  // its place in the revision is known
        bool is_born = false;         // in a directory that the revision does not have
    };
    // Of which only the handle is known: a file with several names, as a rule.
    struct Object {
        VolumeId volume;
        ObjectHandle handle;
        Generation generation = 0;
    };
    std::vector<Name> names;
    std::uint64_t waiting = 0;  // what `names` stands for
    std::vector<Object> objects;

    bool is_partial() const { return names.size() < waiting; }
};
// Something of the volume was renamed since the revision: where its directories were then is not
// looked for, and so no name is known to be of nothing.
bool has_renames(const VolumeMarks& volume);
WaitingSample sample_of(const ChangeQueue& queue, std::size_t most = 1000);

struct Weight {
    std::uint64_t bytes = 0;
    // Of those that were looked at: there is nothing, and the revision has nothing.
    std::vector<WaitingSample::Name> nothing;
    // In all: those, and names in directories that came and went.
    std::uint64_t nothing_count = 0;
    // There is nothing, and what the revision has is not known.
    std::uint64_t unknown = 0;
};

// How many changes wait, as people are told. A file of which only the handle is known is one of
// those that are named already as a rule: it counts when it is all that there is.
struct WaitingCount {
    std::uint64_t named = 0, objects = 0;
    std::uint64_t nothing = 0;  // of those with a name
    bool is_reckoned = false;   // from a part of them, or from those of a moment ago
};
std::uint64_t count_waiting(const WaitingCount& count);

// What the revision has in a directory, by the path of now. Nothing: not known.
using NamesInRevision =
    std::function<std::optional<std::unordered_set<std::string>>(const std::string& directory)>;

Weight weigh(const WaitingSample& sample, const HandleResolver& resolver,
             const NamesInRevision& names_in_revision);

// Which of these inodes the revision has. Nothing: not known.
using InodesInRevision = std::function<std::optional<std::unordered_set<std::uint64_t>>(
    const std::vector<std::uint64_t>& inodes)>;

// Those that the revision has under no name. The marks of all names that such a file got since are
// marks of their own: it is no business of the set. Nothing: not known.
std::optional<std::vector<WaitingSample::Object>> strangers_among(
    const std::vector<WaitingSample::Object>& objects, const HandleResolver& resolver,
    const InodesInRevision& inodes_in_revision);

}  // namespace backup
