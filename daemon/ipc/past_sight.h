// PastSight says what somebody bound by rule R could have seen in revisions that the index of
// history speaks of: the index knows neither names of owners, nor ACLs, nor the directories above,
// so the trees are asked. Blocking; one thread. Remembers the directories it has looked at, within
// bounds.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "daemon/access/access_rule.h"
#include "daemon/history/history_index.h"
#include "daemon/ipc/set_object.h"

namespace backup {

// Whether this machine made it: numbers of people and groups are those of one. What does not say so
// is judged by the host name that the set has here.
bool is_of_this_machine(const Snapshot& snapshot, const BackupSet& set);

// Whether the tree of a revision begins at the root of its machine, as ours do. Another program may
// have been given a relative path: nothing says then who could have come to what is in it.
// Blocking; any thread.
Result<bool> begins_at_root(Repository& repository, const Snapshot& snapshot);

class PastSight {
  public:
    // Revisions of the set's repository that were made on its machine and begin at its root;
    // nothing is seen in others.
    PastSight(RepositoryPool& pool, const BackupSet& set, const AccessRule& rule)
        : pool_(pool), set_(set), rule_(rule) {}

    // What can be known about an entry by its name: every directory on the way grants search.
    // `closed`: nothing. `open`: the directory that would have it is there, or would be if one
    // above it had not gone.
    enum class Sight : std::uint8_t { closed, open };
    Result<Sight> by_name(const RevisionId& revision, const Path& path);
    // What could have been come upon: every directory from `from` on could be listed too.
    Result<bool> by_listing(const RevisionId& revision, const Path& path, const Path& from);
    // The newest revision of those that have the version, up to `last`, in which `sees` holds:
    // where it is not the last one, whether the path is still there behind the door must not show.
    using Sees = std::function<Result<bool>(const RevisionId&)>;
    Result<std::optional<RevisionPoint>> newest_seen(const LineName& line,
                                                     const RevisionPoint& first,
                                                     const RevisionPoint& last, const Sees& sees);

  private:
    struct Directory {
        bool passable = false;  // and all above
        bool listable = false;  // it alone
        bool gone = false;      // it, or one above: nobody closed the way
        std::optional<BlobId> tree;
    };
    Result<Directory> look(const RevisionId& revision, const Path& path);
    Result<Directory> look_below(const Directory& parent, std::string_view name);
    Result<> open();
    Result<const std::vector<RevisionPoint>*> points_of(const LineName& line);

    RepositoryPool& pool_;
    const BackupSet& set_;
    const AccessRule& rule_;
    RepositoryHandle repository_;
    std::map<std::pair<RevisionId, std::string>, Directory> known_;
    std::map<std::string, std::vector<RevisionPoint>> points_;  // by line, newest first
};

}  // namespace backup
