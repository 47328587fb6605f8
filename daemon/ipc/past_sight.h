// PastSight says what somebody bound by rule R could have seen in revisions that the index of
// history speaks of: the index knows neither names of owners, nor ACLs, nor the directories above,
// so the trees are asked. Blocking; one thread. Remembers the directories it has looked at, within
// bounds.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "common/path.h"
#include "common/result.h"
#include "daemon/access/access_rule.h"
#include "daemon/ipc/set_object.h"

namespace backup {

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

    RepositoryPool& pool_;
    const BackupSet& set_;
    const AccessRule& rule_;
    RepositoryHandle repository_;
    std::map<std::pair<RevisionId, std::string>, Directory> known_;
};

}  // namespace backup
