#include "daemon/revisions/editions.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace backup {

const RevisionId& identity_of(const RevisionEntry& entry) {
    return entry.snapshot.original ? *entry.snapshot.original : entry.id;
}

std::vector<RevisionEntry> superseded_revisions(const std::vector<RevisionEntry>& entries) {
    struct Edition {
        const RevisionEntry* entry;
        RevisionTags tags;
    };
    std::map<RevisionId, std::vector<Edition>> editions;
    for (const RevisionEntry& entry : entries) {
        RevisionTags tags = parse_revision_tags(entry.snapshot.tags);
        if (tags.set.empty()) continue;
        editions[identity_of(entry)].push_back({&entry, std::move(tags)});
    }
    std::vector<RevisionEntry> old;
    for (auto& [identity, list] : editions) {
        if (list.size() < 2) continue;
        // Of two that were made at the same time by different hosts the one that keeps more wins.
        auto rank = [](const Edition& edition) {
            return std::make_tuple(edition.tags.edit, edition.tags.is_pinned, !edition.tags.trashed,
                                   edition.entry->id);
        };
        const Edition& last = *std::ranges::max_element(list, {}, rank);
        if (last.tags.edit == 0) continue;  // not of our making
        for (const Edition& edition : list) {
            if (&edition == &last || edition.entry->snapshot.tree != last.entry->snapshot.tree ||
                edition.tags.set != last.tags.set || edition.tags.number != last.tags.number)
                continue;
            old.push_back(*edition.entry);
        }
    }
    return old;
}

}  // namespace backup
