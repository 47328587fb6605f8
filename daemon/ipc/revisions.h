// Revisions as bus clients see them: filters, pages, dictionaries. Used by sets and repositories.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/wire.h"
#include "daemon/jobs/catalog.h"
#include "daemon/state/state_store.h"

namespace backup {

struct RevisionFilter {
    std::size_t limit = 100;
    std::string page;
    std::optional<Timestamp> since, until;
    std::optional<Timestamp> at;  // as `until`, and only such as were made then without doubt
    std::string state = "complete";
    std::optional<std::string> host;  // "*": any
    bool foreign = false;
};
// Takes its keys from the options; does not finish() them.
Result<RevisionFilter> read_revision_filter(wire::DictReader& options);

// Without `set` (or foreign): every snapshot of the repository.
Result<Page> list_revisions(std::vector<Revision> newest_first, const std::optional<SetOnHost>& set,
                            const RevisionFilter& filter);
wire::Dict revision_summary(const Revision& revision);
// For those who may not see all: neither how much there is, nor what somebody called it.
wire::Dict revision_outline(const Revision& revision);
wire::Dict revision_details(const Revision& revision);
// What an interrupted run has left, told as a revision without an id, if the filter asks for it.
std::optional<wire::Dict> incomplete_revision(const SetOnHost& set, const CheckpointRecord& record,
                                              const RevisionFilter& filter);
// reply: aa{sv} s
int append_page(sd_bus_message* message, const Page& page,
                const std::optional<wire::Dict>& incomplete = std::nullopt,
                wire::Dict (*told)(const Revision&) = &revision_summary);

}  // namespace backup
