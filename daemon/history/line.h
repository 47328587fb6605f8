// What is read of a line before anything is asked of it. Blocking; one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/history/history_index.h"
#include "daemon/history/store.h"

namespace backup::history {

// A revision that was fed, by its ordinal.
struct FedRevision {
    Ordinal ordinal = 0;
    RevisionRecord record;
};

Result<std::optional<LineRecord>> read_line(const HistoryStore::View& view, const LineName& name);
// By ordinal; those that were fed whole and are still there.
Result<std::vector<FedRevision>> read_revisions(const HistoryStore::View& view,
                                                const LineRecord& line);

// The line as people see it: without what is hidden.
struct VisibleLine {
    LineRecord record;
    std::vector<FedRevision> revisions;
    std::vector<Ordinal> ordinals;  // of the same

    RevisionPoint point(std::size_t position) const;
    // The stretches as versions, oldest first.
    std::vector<PathVersion> dated(const std::vector<Stretch>& stretches) const;
};
Result<std::optional<VisibleLine>> visible_line(const HistoryStore::View& view,
                                                const LineName& name);

// All versions of a name, oldest first. `older`: a cursor over the older versions of the line.
Result<std::vector<Version>> versions_of(HistoryStore::Cursor& older, DirectoryId directory,
                                         std::string_view name, const NameRecord& newest);

// Drops versions that no revision has any more. `cancelled` keeps what was swept.
Result<> sweep(HistoryStore& store, const LineRecord& line, const std::stop_token& stop);
// Clears what is left of lines that were given up.
Result<> clear_given_up(HistoryStore& store, const std::stop_token& stop);

}  // namespace backup::history
