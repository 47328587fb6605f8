// Which snapshots of a repository are revisions of a set, which one a person means, which one a
// backup continues. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/repository.h"
#include "daemon/revisions/editions.h"

namespace backup {

// A set as one machine keeps it: two machines may share a repository and a set's name.
struct SetOnHost {
    std::string set, host;
    // Lines that it goes on with: before the set, the machine or both were renamed.
    std::vector<std::pair<std::string, std::string>> adopted = {};  // (host, set)
};

// A snapshot with its tags taken apart.
struct Revision {
    RevisionEntry entry;
    RevisionTags tags;
    // Where it stands among the others: its time or, if that cannot be right, that of the revision
    // of the set that was made before it.
    Timestamp placed{};
    bool is_time_credible = true;
    const RevisionId& id() const { return entry.id; }
    const Snapshot& snapshot() const { return entry.snapshot; }
    bool is_trashed() const { return tags.trashed.has_value(); }
    // Stays the same when what is said of the revision changes, and with it the id of its snapshot.
    const RevisionId& identity() const { return identity_of(entry); }
};

// Newest first; those of a set on a host in the order of their numbers, whatever its clock said.
// Without those that were superseded. No time after `now` is credible.
std::vector<Revision> all_revisions(std::vector<RevisionEntry> entries,
                                    Timestamp now = Timestamp::max());
// What a restore replaced or removed, kept so that it can be taken back. It is of no set's line:
// never the latest, a parent or the answer to a time, and no rule counts it. Its number is that of
// the job; only its id means it.
inline constexpr const char* kPreRestore = "pre-restore";
bool is_pre_restore(const Revision& revision);
bool belongs_to(const Revision& revision, const SetOnHost& set);
// Of the set, without those in the trash.
std::uint64_t count_kept(const std::vector<Revision>& revisions, const SetOnHost& set);

// A full id, a unique prefix of one (6 digits or more), the set's revision number, or "latest". Ids
// may be of any snapshot; numbers and "latest" are the set's; "latest" is never in the trash. An id
// that a revision had before it was pinned or the like still means it.
// `not_found`/no_such_revision, `invalid` for a prefix of several.
Result<Revision> resolve_revision(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                  std::string_view text);

// The newest revision of the set, be it in the trash, or a newer snapshot by another program, of
// this host, that covers all paths of the set: so an adopted repository continues.
std::optional<Revision> pick_parent(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                    const std::vector<Path>& paths);
// One more than any number known.
std::uint64_t next_number(const std::vector<Revision>& revisions, const SetOnHost& set,
                          std::uint64_t remembered);

// Where a page of at most `limit` begins (an opaque token of a former answer; "" is the start) and
// the token of the next.
struct Page {
    std::vector<Revision> revisions;
    std::string next;
};
Result<Page> cut_page(std::vector<Revision> newest_first, std::string_view token,
                      std::size_t limit);

// As the set's configuration says it.
SetOnHost line_of(const BackupSet& set);
// The set's own hostname, else this machine's.
std::string host_of(const BackupSet& set);

}  // namespace backup
