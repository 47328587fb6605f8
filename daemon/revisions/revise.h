// Changing what is said of revisions that exist: pins, the trash. The tree and the time of a
// revision never change. Blocking; any thread.
//
// The new edition of a snapshot is written and read back before the old one is removed, so at every
// moment one of them is there, and which one counts is written in them (editions.h). A storage that
// lets nothing be removed keeps the old one, and so does one to which another program writes;
// nobody sees it, and a collection takes it.
#pragma once

#include <optional>
#include <stop_token>
#include <vector>

#include "daemon/backend/backend.h"
#include "daemon/repository/repository.h"

namespace backup {

struct RevisionChange {
    std::optional<bool> pin;
    // Outer: change it at all. Inner: the time at which it was forgotten, or nothing: taken back.
    std::optional<std::optional<Timestamp>> trash;
};

struct RevisedRevision {
    RevisionId before;
    RevisionEntry after;  // the same id where there was nothing to change
};

// Under one shared lock. `not_found`/no_such_revision for one that is gone; those before it are
// changed then. Only revisions of ours (with a set's tag) can be changed: else `invalid`.
// `deleting`: null where nothing may be removed.
Result<std::vector<RevisedRevision>> revise(Repository& repository, DeletingBackend* deleting,
                                            const std::vector<RevisionId>& revisions,
                                            const RevisionChange& change, std::stop_token stop);

}  // namespace backup
