#include "daemon/revisions/revise.h"

#include <algorithm>

#include "common/log.h"
#include "daemon/revisions/editions.h"

namespace backup {

namespace {

bool apply(const RevisionChange& change, RevisionTags& tags) {
    const bool was_pinned = tags.is_pinned;
    const auto was_trashed = tags.trashed;
    if (change.pin) tags.is_pinned = *change.pin;
    // What was forgotten already stays forgotten since then; what was pinned meanwhile, stays.
    const bool may_move = !change.trash || !change.trash->has_value() || !tags.is_pinned;
    if (may_move && change.trash && change.trash->has_value() != tags.trashed.has_value())
        tags.trashed = *change.trash;
    return tags.is_pinned != was_pinned || tags.trashed != was_trashed;
}

// Never an error: the old edition is hidden by the new one, and the collector takes it.
void remove_old(Repository& repository, DeletingBackend* deleting, const RevisionId& id) {
    if (deleting == nullptr) return;
    // Another program may have listed it.
    Result<std::vector<FoundLock>> locks = repository.locks();
    if (!locks.ok() || foreign_writer(*locks) != nullptr) return;
    Result<> removed = deleting->remove({FileType::snapshot, id_cast<FileId>(id)});
    if (!removed.ok())
        log_notice("the earlier edition of a revision stays for now: " + removed.error().message());
}

Result<RevisedRevision> revise_one(Repository& repository, DeletingBackend* deleting,
                                   const RevisionEntry& entry, const RevisionChange& change) {
    RevisionTags tags = parse_revision_tags(entry.snapshot.tags);
    if (tags.set.empty())
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "revision " + entry.id.short_hex() +
                         " was not made by this program: it is left as it is");
    if (!apply(change, tags)) return RevisedRevision{entry.id, entry};
    ++tags.edit;
    RevisedRevision revised{entry.id, entry};
    Snapshot& snapshot = revised.after.snapshot;
    snapshot.tags = make_tags(tags);
    if (!snapshot.original) snapshot.original = entry.id;
    const std::string json = encode_snapshot(snapshot);
    revised.after.id =
        id_cast<RevisionId>(TRY(repository.store_unpacked(FileType::snapshot, as_bytes(json))));
    remove_old(repository, deleting, entry.id);
    return revised;
}

}  // namespace

Result<std::vector<RevisedRevision>> revise(Repository& repository, DeletingBackend* deleting,
                                            const std::vector<RevisionId>& revisions,
                                            const RevisionChange& change, std::stop_token stop) {
    auto lock = TRY(repository.lock(LockKind::shared, stop));
    // Looked at under the lock: another host may have changed it since.
    const std::vector<RevisionEntry> entries = TRY(repository.list_revisions());
    std::vector<RevisionId> old;
    for (const RevisionEntry& entry : superseded_revisions(entries)) old.push_back(entry.id);
    std::vector<RevisedRevision> revised;
    for (const RevisionId& id : revisions) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
        auto is_it = [&](const RevisionEntry& entry) {
            return (entry.id == id || identity_of(entry) == id) &&
                   std::ranges::find(old, entry.id) == old.end();
        };
        // By id first: another program may have made something else of the revision, too.
        auto found = std::ranges::find_if(
            entries, [&](const RevisionEntry& entry) { return entry.id == id && is_it(entry); });
        if (found == entries.end()) found = std::ranges::find_if(entries, is_it);
        if (found == entries.end())
            return Error(ErrorKind::not_found, ErrorCode::no_such_revision,
                         "revision " + id.short_hex() + " is gone");
        if (TRY(lock->verify(stop)) == RepositoryLock::State::lost) {
            // It may have been removed meanwhile, and what it needs: written anew it would be a
            // revision without its data. If it is there now it stays, for our lock is.
            TRY(lock->renew(stop));
            Result<FileInfo> still =
                repository.backend().stat({FileType::snapshot, id_cast<FileId>(found->id)});
            if (!still.ok()) return std::move(still).error().during("revision " + id.short_hex());
        }
        revised.push_back(TRY(revise_one(repository, deleting, *found, change)));
    }
    return revised;
}

}  // namespace backup
