#include "daemon/repository/session.h"

#include "common/log.h"
#include "common/pause.h"
#include "daemon/repository/unpacked.h"

namespace backup {

namespace {

// How often the thread looks at the wall clock: soon after a resume from suspend, and idle
// otherwise.
constexpr auto kLookEvery = std::chrono::seconds(10);

}  // namespace

Session::Session(const Place& place, std::unique_ptr<RepositoryLock> lock,
                 const WriteOptions& options, std::stop_token stop)
    : place_(place),
      continues_(options.continues),
      lost_before_(place.index.lost_count()),
      number_(place.index.begin_session()),
      lock_(std::move(lock)) {
    indexes_ = std::make_unique<IndexWriter>(
        IndexWriter::Place{place.backend, place.key, place.config.version, place.index,
                           place.loader, number_, place.clock, [this] { return secure(); },
                           [this](const std::vector<PackId>& packs) {
                               if (place_.journal != nullptr)
                                   place_.journal->forget(place_.config.id, packs);
                           }});
    packs_ = std::make_unique<PackWriter>(
        PackWriter::Place{place.backend, place.key, place.config.version, place.index, number_,
                          [this] { return generation_.load(); },
                          [this, owner = options.owner](const PackId& pack, std::uint64_t size) {
                              if (place_.journal != nullptr)
                                  place_.journal->remember(place_.config.id, owner,
                                                           {pack, size, place_.clock.now()});
                          },
                          [this](StoredPack pack) { return indexes_->add(std::move(pack)); }},
        options, std::move(stop));
    keeper_ = std::jthread([this](std::stop_token own) { keep_lock(std::move(own)); });
}

Session::~Session() {
    keeper_.request_stop();
    keeper_.join();
    packs_.reset();
    indexes_.reset();
    place_.index.end_session(number_);
    lock_.reset();
}

Result<SavedBlob> Session::save(BlobType type, ByteView plaintext) {
    return packs_->save(type, plaintext);
}

bool Session::contains(const BlobHandle& handle) const {
    return place_.index.rely_on(handle, number_);
}

Result<> Session::checkpoint() {
    TRY(packs_->flush());
    TRY(write_index());
    return all_let_through();
}

Result<> Session::settle_trees() {
    TRY(packs_->flush(BlobType::tree));
    TRY(write_index());
    return all_let_through();
}

// What is stored will be found, but it is not all that was saved.
Result<> Session::all_let_through() const {
    if (!packs_->is_cut_off()) return {};
    return Error(ErrorKind::cancelled, ErrorCode::paused, "uploads were stopped");
}

Result<> Session::write_index() {
    Result<> written = indexes_->flush();
    if (!written.ok()) packs_->fail(written.error());
    return written;
}

Result<RevisionId> Session::commit(const Snapshot& snapshot) {
    TRY(checkpoint());
    if (packs_->is_incomplete())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped before all was stored");
    // Also in a pack that was marked since: what this session stored or relied on before stays for
    // as long as its lock says that it is running.
    const BlobHandle root{BlobType::tree, snapshot.tree};
    if (!place_.index.rely_on(root, number_) && !place_.index.contains(root))
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                     "the root tree " + snapshot.tree.short_hex() + " was not saved");
    const std::string json = encode_snapshot(snapshot);
    UnpackedFile file = TRY(make_unpacked(place_.key, place_.config.version, as_bytes(json)));
    TRY(secure());
    Result<> put = place_.backend.put({FileType::snapshot, file.id}, file.sealed);
    // What was lost on a bad line may be the answer alone: then the revision is there, and to call
    // the run failed would be wrong. Other errors leave in doubt whether it would last.
    if (!put.ok() && put.error().kind() != ErrorKind::transient)
        return std::move(put).error().during("store the snapshot");
    // "Complete" is said only of what was seen to be there.
    Result<Bytes> stored = read_unpacked(place_.backend, place_.key, place_.config.version,
                                         FileType::snapshot, file.id);
    if (!stored.ok())
        return put.ok() ? std::move(stored).error().during("read the snapshot back")
                        : std::move(put).error().during("store the snapshot");
    if (!put.ok())
        log_warning("the storage answered a failure, and yet has the snapshot: " +
                    put.error().message());
    if (as_text(*stored) != json)
        return Error(ErrorKind::corrupt, ErrorCode::repository_damaged,
                     "the snapshot read back is not the one that was stored");
    return id_cast<RevisionId>(file.id);
}

// Called before everything that relies on no prune having run. Gives the number of times the lock
// was lost so far.
Result<std::uint64_t> Session::secure() {
    std::lock_guard guard(secure_mutex_);
    // Not the job's stop token: a cancelled run still keeps what it has stored.
    const RepositoryLock::State state = TRY(lock_->verify({}));
    if (state == RepositoryLock::State::lost) {
        log_warning(
            "our lock on the repository was removed or timed out: taking a new one and looking "
            "again");
        must_look_ = true;
        TRY_DURING(lock_->renew({}), "take the lock again");
        generation_.fetch_add(1);
    }
    if (must_look_) {
        TRY_DURING(place_.loader.refresh({}), "look at the index again");
        TRY(look_at_parent());
        must_look_ = false;
    }
    if (place_.index.lost_count() != lost_before_)
        return Error(ErrorKind::conflict, ErrorCode::conflict,
                     "data that this run relies on was removed by another program");
    return generation_.load();
}

// As long as its snapshot is there everybody knows that all of its trees are needed.
Result<> Session::look_at_parent() {
    if (!continues_) return {};
    Result<FileInfo> there =
        place_.backend.stat({FileType::snapshot, id_cast<FileId>(*continues_)});
    if (there.ok()) return {};
    if (there.error().kind() != ErrorKind::not_found)
        return std::move(there).error().during("look at the revision that is continued");
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 "the revision that this run continues was removed by another program while our "
                 "lock was lost");
}

void Session::keep_lock(std::stop_token stop) {
    while (pause_for(stop, kLookEvery)) {
        Result<RepositoryLock::State> state = lock_->refresh_if_due(stop);
        if (!state.ok()) {
            log_warning("the lock could not be refreshed, will be tried again: " +
                        state.error().message());
            continue;
        }
        if (*state == RepositoryLock::State::held) continue;
        Result<std::uint64_t> secured = secure();
        if (!secured.ok() && secured.error().kind() == ErrorKind::conflict)
            packs_->fail(secured.error());
    }
}

}  // namespace backup
