#include "daemon/collection/collector.h"

#include <functional>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "daemon/collection/inventory.h"
#include "daemon/repository/pack.h"
#include "daemon/repository/tree.h"
#include "daemon/revisions/revise.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

// A repository in memory, a clock that tests move, and what a person would ask for.
class Collecting : public testing::Test {
  protected:
    StillClock clock;
    MemoryBackend backend;
    std::unique_ptr<Repository> repository = make_repository(backend, clock);
    std::uint64_t number = 0;

    struct Made {
        RevisionId id;
        BlobId tree;
        std::vector<BlobId> content;
    };
    // One revision of set "home" with these blobs.
    Made make(const std::vector<Bytes>& blobs, Repository* with = nullptr) {
        if (with == nullptr) with = repository.get();
        auto session = must(with->start_write({}, {}));
        Made made;
        for (const Bytes& blob : blobs)
            made.content.push_back(must(session->save(BlobType::data, blob)).id);
        made.tree = must(session->save(BlobType::tree, file_tree(made.content, 1))).id;
        Snapshot snapshot = snapshot_of(made.tree);
        snapshot.time = clock.now();
        snapshot.tags = make_tags({.set = "home", .number = ++number});
        made.id = must(session->commit(snapshot));
        return made;
    }
    void forget(const RevisionId& id, Repository* with = nullptr) {
        RevisionChange change;
        change.trash = std::optional(clock.now());
        must(revise(with != nullptr ? *with : *repository, &backend, {id}, change, {}));
    }

    CollectRequest request() {
        CollectRequest wanted;
        wanted.trash = 0s;
        wanted.own_sets = {{"home", "test"}};
        return wanted;
    }
    Result<CollectResult> run(const CollectRequest& wanted, Repository* with = nullptr) {
        Progress progress;
        return collect(with != nullptr ? *with : *repository, backend, wanted, progress,
                       [](const std::string&) {}, {});
    }
    CollectResult collected() { return must(run(request())); }
    StorageAudit audited(Repository* with = nullptr) {
        Progress progress;
        const StorageAudit audit =
            must(backup::audit(with != nullptr ? *with : *repository, progress, {}));
        EXPECT_EQ(audit.live_bytes + audit.grace_bytes + audit.orphan_bytes, audit.listed_bytes);
        return audit;
    }
    // Everything that any revision needs can be read, by somebody who remembers nothing.
    void expect_whole() {
        auto fresh = open_repository(backend, clock);
        must(fresh->refresh_index({}));
        for (const RevisionEntry& entry : must(fresh->list_revisions())) {
            const Bytes tree = must(fresh->blobs().load({BlobType::tree, entry.snapshot.tree}));
            must(visit_tree(tree, [&](Node& node) -> Result<> {
                for (const BlobId& id : node.content) {
                    Result<Bytes> blob = fresh->blobs().load({BlobType::data, id});
                    if (!blob.ok()) return std::move(blob).error();
                }
                return {};
            }));
        }
        EXPECT_EQ(count(backend, FileType::lock), 0u);
    }
};

TEST_F(Collecting, NothingIsRemovedWhileEverythingIsNeeded) {
    make({text_blob(1), text_blob(2)});
    make({text_blob(2), text_blob(3)});
    const auto before = backend.files();
    for (int i = 0; i < 3; ++i) {
        const CollectResult result = collected();
        EXPECT_EQ(result.packs_marked + result.packs_removed + result.packs_copied, 0u);
        clock.advance(25h);
    }
    EXPECT_EQ(backend.files().size(), before.size());
    EXPECT_EQ(audited().orphan_bytes, 0u);
}

TEST_F(Collecting, WhatIsForgottenIsMarkedFirstAndSweptAfterTheGrace) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    CollectResult first = collected();
    EXPECT_EQ(first.revisions_removed, 1u);
    EXPECT_EQ(first.packs_marked, 2u) << "its data and its tree";
    EXPECT_EQ(first.packs_removed, 0u);
    EXPECT_EQ(audited().grace_bytes, first.bytes_marked);
    EXPECT_EQ(audited().orphan_bytes, 0u);

    clock.advance(23h);
    EXPECT_EQ(collected().packs_removed, 0u) << "not before the grace is over";
    clock.advance(2h);
    const CollectResult last = collected();
    EXPECT_EQ(last.packs_removed, 2u);
    EXPECT_EQ(last.bytes_removed, first.bytes_marked);
    const StorageAudit audit = audited();
    EXPECT_EQ(audit.grace_bytes + audit.orphan_bytes, 0u);
    EXPECT_EQ(collected().packs_removed, 0u) << "the same result when run twice";
    expect_whole();
}

TEST_F(Collecting, TheTrashIsKeptForItsTime) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    CollectRequest wanted = request();
    wanted.trash = 48h;
    EXPECT_EQ(must(run(wanted)).revisions_removed, 0u);
    clock.advance(47h);
    EXPECT_EQ(must(run(wanted)).revisions_removed, 0u);
    clock.advance(2h);
    EXPECT_EQ(must(run(wanted)).revisions_removed, 1u);
}

TEST_F(Collecting, TheTrashOfOthersIsTheirs) {
    const Made old = make({noise_blob(1, 5000)});
    forget(old.id);
    CollectRequest wanted = request();
    wanted.own_sets = {{"home", "another-host"}};
    EXPECT_EQ(must(run(wanted)).revisions_removed, 0u);
}

TEST_F(Collecting, AnEarlierEditionIsRemoved) {
    const Made made = make({text_blob(1)});
    RevisionChange change;
    change.pin = true;
    must(revise(*repository, nullptr, {made.id}, change, {}));  // as on a storage without removal
    EXPECT_EQ(count(backend, FileType::snapshot), 2u);
    EXPECT_EQ(collected().revisions_removed, 1u);
    EXPECT_EQ(count(backend, FileType::snapshot), 1u);
    const auto left = must(repository->list_revisions());
    EXPECT_TRUE(parse_revision_tags(left.front().snapshot.tags).is_pinned);
    EXPECT_EQ(left.front().snapshot.original, made.id);
}

TEST_F(Collecting, OnlyWhatIsNeededOfAWastefulPackIsCopied) {
    const Made old = make({noise_blob(1, 50'000), noise_blob(2, 50'000), noise_blob(3, 10'000)});
    make({noise_blob(3, 10'000)});
    forget(old.id);
    const CollectResult first = collected();
    EXPECT_EQ(first.packs_copied, 1u);
    EXPECT_GT(first.bytes_copied, 10'000u);
    EXPECT_LT(first.bytes_copied, 11'000u);
    expect_whole();
    clock.advance(25h);
    EXPECT_GE(collected().packs_removed, 2u);
    expect_whole();
    const StorageAudit audit = audited();
    EXPECT_LT(audit.listed_bytes, 20'000u);
    EXPECT_EQ(audit.waste_bytes, 0u);
}

// Reading takes no lock: a restore that runs for days, or beside another program's prune.
TEST_F(Collecting, WhatWasCopiedAndSweptIsStillFoundByWhoReadsMeanwhile) {
    const Bytes moved = noise_blob(3, 10'000);
    const Made old = make({noise_blob(1, 50'000), moved});
    const Made kept = make({moved});
    auto reader = open_repository(backend, clock);
    must(reader->refresh_index({}));
    const BlobHandle handle{BlobType::data, kept.content.front()};
    const BlobLocation place = reader->blobs().locate(handle).value();
    forget(old.id);
    EXPECT_EQ(collected().packs_copied, 1u);
    clock.advance(25h);
    EXPECT_GE(collected().packs_removed, 2u);
    ASSERT_EQ(reader->blobs().locate(handle), place) << "it knows nothing of that yet";

    const BlobSource::Wanted wanted[] = {{handle, place}};
    int read = 0;
    must(reader->blobs().load_from_pack(
        place.pack, wanted, [&](std::size_t, Result<ByteView> plaintext) -> Result<> {
            EXPECT_TRUE(plaintext.ok() && std::ranges::equal(*plaintext, moved));
            ++read;
            return {};
        }));
    EXPECT_EQ(read, 1);
    EXPECT_EQ(must(reader->blobs().load(handle)), moved);
    const BlobHandle lost{BlobType::data, old.content.front()};
    EXPECT_FALSE(reader->blobs().load(lost).ok());
}

TEST_F(Collecting, NoSessionReliesOnWhatIsMarked) {
    const Bytes shared = noise_blob(1, 5000);
    const Made old = make({shared});
    make({noise_blob(2, 5000)});
    forget(old.id);
    collected();
    // Begun after the mark: what it shares with the marked pack is stored once more.
    const Made again = make({shared});
    EXPECT_EQ(again.content.front(), old.content.front());
    clock.advance(25h);
    EXPECT_GE(collected().packs_removed, 1u);
    expect_whole();
    EXPECT_EQ(audited().orphan_bytes, 0u);
}

TEST_F(Collecting, ASessionFromBeforeTheMarkKeepsItsPacksHoweverLongItTakes) {
    const Bytes shared = noise_blob(1, 5000);
    const Made old = make({shared});
    make({noise_blob(2, 5000)});
    auto other = open_repository(backend, clock);
    auto session = must(other->start_write({}, {}));
    const BlobId blob = must(session->save(BlobType::data, shared)).id;
    EXPECT_EQ(session->counters().data_blobs_new, 0u) << "it relies on what is there";
    forget(old.id);
    EXPECT_GE(collected().packs_marked, 1u);
    // Much longer than the grace; its lock is refreshed meanwhile.
    clock.advance(30h);
    const CollectResult waiting = collected();
    EXPECT_EQ(waiting.packs_removed, 0u);
    EXPECT_GE(waiting.packs_waiting, 1u);
    EXPECT_FALSE(waiting.waits_for.empty());
    const BlobId tree = must(session->save(BlobType::tree, file_tree({blob}, 1))).id;
    Snapshot snapshot = snapshot_of(tree);
    snapshot.tags = make_tags({.set = "home", .number = 99});
    must(session->commit(snapshot));
    session.reset();
    collected();
    expect_whole();
}

TEST_F(Collecting, AWriterThatKnowsNoMarksIsWaitedFor) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    collected();
    clock.advance(25h);
    // As restic writes it.
    LockFile foreign;
    foreign.time = clock.now();
    foreign.hostname = "elsewhere";
    foreign.pid = 7;
    const FileId lock =
        must(repository->store_unpacked(FileType::lock, as_bytes(encode_lock(foreign))));
    const CollectResult waiting = collected();
    EXPECT_EQ(waiting.packs_removed, 0u);
    EXPECT_EQ(waiting.packs_waiting, 2u);
    must(backend.remove_lock(id_cast<LockId>(lock)));
    EXPECT_EQ(collected().packs_removed, 2u);
    expect_whole();
}

// It lists snapshots, and reads them one by one.
TEST_F(Collecting, NoSnapshotGoesWhileAForeignWriterIsThere) {
    const Made old = make({noise_blob(1, 5000)});
    const Made kept = make({noise_blob(2, 5000)});
    forget(old.id);
    LockFile foreign;
    foreign.time = clock.now();
    foreign.hostname = "elsewhere";
    foreign.pid = 7;
    const FileId lock =
        must(repository->store_unpacked(FileType::lock, as_bytes(encode_lock(foreign))));
    RevisionChange change;
    change.pin = true;
    must(revise(*repository, &backend, {kept.id}, change, {}));
    EXPECT_EQ(count(backend, FileType::snapshot), 3u) << "the earlier edition is there, too";
    CollectResult waiting = collected();
    EXPECT_EQ(waiting.revisions_removed, 0u);
    EXPECT_NE(waiting.waits_for.find("elsewhere"), std::string::npos) << waiting.waits_for;
    EXPECT_EQ(count(backend, FileType::snapshot), 3u);
    must(backend.remove_lock(id_cast<LockId>(lock)));
    EXPECT_EQ(collected().revisions_removed, 2u);
    EXPECT_EQ(count(backend, FileType::snapshot), 1u);
    expect_whole();
}

TEST_F(Collecting, OneCollectorAtATimeAndSessionsBesideIt) {
    auto lock = must(repository->lock(LockKind::collect, {}));
    EXPECT_EQ(run(request()).error().code(), ErrorCode::repository_locked);
    make({text_blob(1)});
    auto alone = must(repository->lock(LockKind::unlist, {}));
    make({text_blob(2)});
    EXPECT_EQ(repository->lock(LockKind::exclusive, {}).error().code(),
              ErrorCode::repository_locked);
}

TEST_F(Collecting, APackThatNoIndexNamesGoesInTheFirstRunAfterTheGrace) {
    make({text_blob(1)});
    const Bytes orphan = noise_blob(7, 3000);
    must(backend.put({FileType::pack, content_id<FileId>(orphan)}, orphan));
    EXPECT_EQ(audited().orphan_bytes, 3000u);
    EXPECT_EQ(collected().bytes_marked, 3000u);
    EXPECT_EQ(audited().grace_bytes, 3000u);
    clock.advance(25h);
    EXPECT_EQ(collected().bytes_removed, 3000u);
    EXPECT_EQ(audited().grace_bytes + audited().orphan_bytes, 0u);
    expect_whole();
}

TEST_F(Collecting, APreviewSaysWhatIsDoneAndDoesNothing) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    const auto before = backend.files().size();
    CollectRequest wanted = request();
    wanted.dry_run = true;
    const CollectResult preview = must(run(wanted));
    EXPECT_EQ(backend.files().size(), before);
    const CollectResult done = collected();
    EXPECT_EQ(preview.packs_marked, done.packs_marked);
    EXPECT_EQ(preview.bytes_marked, done.bytes_marked);
    EXPECT_EQ(preview.revisions_removed, done.revisions_removed);
}

TEST_F(Collecting, DamageStopsEverything) {
    const Made old = make({noise_blob(1, 5000)});
    const Made kept = make({noise_blob(2, 5000)});
    forget(old.id);
    must(repository->refresh_index({}));
    const auto place = repository->blobs().locate({BlobType::data, kept.content.front()});
    must(backend.remove({FileType::pack, id_cast<FileId>(place->pack)}));
    auto result = run(request());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::repository_damaged);
    EXPECT_EQ(count(backend, FileType::lock), 0u);
}

TEST_F(Collecting, ASnapshotThatCannotBeReadStopsEverything) {
    const Made old = make({noise_blob(1, 5000)});
    const Made kept = make({noise_blob(2, 5000)});
    forget(old.id);
    Bytes damaged = *backend.files().at({FileType::snapshot, id_cast<FileId>(kept.id)});
    damaged[40] ^= 1;
    backend.overwrite({FileType::snapshot, id_cast<FileId>(kept.id)}, damaged);
    auto fresh = open_repository(backend, clock);
    auto result = run(request(), fresh.get());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::repository_damaged);
}

TEST_F(Collecting, AMarkOfAClockThatRanAheadIsMadeAnew) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    CollectRequest wanted = request();
    clock.advance(24h * 3650);
    must(run(wanted));
    clock.advance(-24h * 3650);
    EXPECT_EQ(collected().packs_removed, 0u);
    clock.advance(23h);
    EXPECT_EQ(collected().packs_removed, 0u);
    clock.advance(2h);
    EXPECT_EQ(collected().packs_removed, 2u);
}

TEST_F(Collecting, SmallIndexFilesArePutTogether) {
    for (int i = 0; i < 12; ++i) make({text_blob(i)});
    EXPECT_EQ(count(backend, FileType::index), 12u);
    EXPECT_GE(collected().index_files_removed, 12u);
    EXPECT_LE(count(backend, FileType::index), 2u);
    expect_whole();
}

TEST_F(Collecting, AnotherHostSweepsWhatThisOneMarked) {
    const Made old = make({noise_blob(1, 5000)});
    make({noise_blob(2, 5000)});
    forget(old.id);
    collected();
    clock.advance(25h);
    auto other = open_repository(backend, clock);
    EXPECT_EQ(must(run(request(), other.get())).packs_removed, 2u);
    expect_whole();
}

// ---- what interrupted backups left

class CollectingKept : public Collecting {
  protected:
    CollectingKept() {
        make({text_blob(1)});
        auto session = must(repository->start_write({}, {}));
        for (int i = 2; i < 5; ++i)
            content.push_back(must(session->save(BlobType::data, noise_blob(i, 5000))).id);
        kept.tree = must(session->save(BlobType::tree, file_tree(content, 1))).id;
        // Half a file: no tree has it yet.
        kept.data = {must(session->save(BlobType::data, noise_blob(9, 5000))).id};
        must(session->checkpoint());
    }
    CollectRequest with_kept() {
        CollectRequest wanted = request();
        wanted.kept = [this]() -> Result<std::vector<KeptData>> {
            return std::vector<KeptData>{kept};
        };
        return wanted;
    }
    std::vector<BlobId> content;
    KeptData kept;
};

TEST_F(CollectingKept, StaysAsLongAsItIsKept) {
    for (int i = 0; i < 3; ++i) {
        const CollectResult result = must(run(with_kept()));
        EXPECT_EQ(result.packs_marked + result.packs_removed, 0u);
        clock.advance(25h);
    }
    auto session = must(repository->start_write({}, {}));
    EXPECT_TRUE(session->contains({BlobType::tree, *kept.tree}));
    for (const BlobId& id : content) EXPECT_TRUE(session->contains({BlobType::data, id}));
    EXPECT_TRUE(session->contains({BlobType::data, kept.data.front()}));
}

TEST_F(CollectingKept, GoesInTwoPhasesOnceItIsNot) {
    EXPECT_EQ(must(run(with_kept())).packs_marked, 0u);
    EXPECT_EQ(collected().packs_marked, 2u) << "data and trees";
    clock.advance(25h);
    EXPECT_EQ(collected().packs_removed, 2u);
    expect_whole();
}

TEST_F(CollectingKept, WhatIsMissingOfItIsNoDamage) {
    kept.tree->bytes[0] ^= 1;
    kept.data.front().bytes[0] ^= 1;
    EXPECT_EQ(must(run(with_kept())).packs_marked, 2u);
}

TEST_F(CollectingKept, WhatIsMarkedAlreadyIsTakenBack) {
    EXPECT_EQ(collected().packs_marked, 2u);
    EXPECT_EQ(must(run(with_kept())).packs_recovered, 2u);
    clock.advance(25h);
    EXPECT_EQ(must(run(with_kept())).packs_removed, 0u);
    auto session = must(repository->start_write({}, {}));
    EXPECT_TRUE(session->contains({BlobType::tree, *kept.tree}));
}

TEST_F(CollectingKept, PacksThatNoIndexNamesYetAreNotGarbage) {
    kept = {};
    collected();
    clock.advance(25h);
    EXPECT_EQ(collected().packs_removed, 2u);
    const auto before = backend.files();
    {
        auto session = must(repository->start_write({.pack_bytes = 4096}, {}));
        must(session->save(BlobType::data, noise_blob(20, 5000)));
        while (backend.files().size() < before.size() + 2) std::this_thread::yield();  // and a lock
    }
    for (const auto& [key, file] : backend.files())
        if (key.first == FileType::pack && !before.contains(key))
            kept.packs.push_back(id_cast<PackId>(key.second));
    ASSERT_EQ(kept.packs.size(), 1u);
    for (int i = 0; i < 3; ++i) {
        const CollectResult result = must(run(with_kept()));
        EXPECT_EQ(result.packs_marked + result.packs_removed, 0u);
        EXPECT_EQ(result.before.orphan_bytes, 0u);
        clock.advance(25h);
    }
    EXPECT_EQ(collected().packs_marked, 1u);
    EXPECT_EQ(must(run(with_kept())).packs_recovered, 1u) << "marked by somebody who knew nothing";
    EXPECT_EQ(collected().packs_marked, 1u) << "no more than an orphan";
    clock.advance(25h);
    EXPECT_EQ(collected().packs_removed, 1u);
}

// ---- what is known to be damaged

class CollectingDamaged : public Collecting {
  protected:
    CollectingDamaged() {
        std::vector<Bytes> blobs;
        for (int i = 0; i < 10; ++i) blobs.push_back(noise_blob(30 + i, 50'000));
        made = make(blobs);
        bad = place_of(3).pack;
    }
    BlobHandle handle(std::size_t i) const { return {BlobType::data, made.content[i]}; }
    BlobLocation place_of(std::size_t i) { return *repository->blobs().locate(handle(i)); }
    bool is_there(const PackId& pack) {
        return backend.files().contains({FileType::pack, id_cast<FileId>(pack)});
    }
    void damage(std::size_t i) {
        const BlobLocation place = place_of(i);
        Bytes content = *backend.files().at({FileType::pack, id_cast<FileId>(place.pack)});
        content[place.offset + 40] ^= 1;
        backend.overwrite({FileType::pack, id_cast<FileId>(place.pack)}, std::move(content));
        EXPECT_FALSE(repository->blobs().check(handle(i)).ok());
    }
    void store_anew(std::size_t i) {
        auto session = must(repository->start_write({}, {}));
        EXPECT_TRUE(must(session->save(BlobType::data, noise_blob(30 + int(i), 50'000))).is_new);
        must(session->checkpoint());
    }
    Made made;
    PackId bad;
};

TEST_F(CollectingDamaged, TheIntactCopyIsKeptAndTheDamageGoes) {
    damage(3);
    store_anew(3);
    // The one that was stored first has all the others: by that alone it would be preferred.
    CollectResult first = collected();
    EXPECT_EQ(first.packs_copied, 1u);
    EXPECT_EQ(first.packs_marked, 1u);
    clock.advance(25h);
    EXPECT_EQ(collected().packs_removed, 1u);
    EXPECT_FALSE(is_there(bad));
    expect_whole();
    collected();  // and its mark
    must(repository->start_write({}, {})).reset();
    EXPECT_FALSE(repository->damage().any());
}

TEST_F(CollectingDamaged, TheOnlyCopyStaysWhereItIs) {
    damage(3);
    for (int i = 0; i < 3; ++i) {
        const CollectResult result = collected();
        EXPECT_EQ(result.packs_marked + result.packs_copied + result.packs_removed, 0u);
        clock.advance(25h);
    }
    EXPECT_TRUE(is_there(bad));
    store_anew(3);
    expect_whole();
}

TEST_F(CollectingDamaged, APackThatIsTooShortIsNotPreferred) {
    Bytes content = *backend.files().at({FileType::pack, id_cast<FileId>(bad)});
    content.resize(content.size() - 100);
    backend.overwrite({FileType::pack, id_cast<FileId>(bad)}, std::move(content));
    EXPECT_FALSE(run(request()).ok()) << "needed and of the wrong size";
    repository->damage().add({{bad, std::nullopt}});
    for (std::size_t i = 0; i < 10; ++i) store_anew(i);
    CollectResult result = collected();
    EXPECT_GE(result.packs_marked, 1u);
    clock.advance(25h);
    collected();
    EXPECT_FALSE(is_there(bad));
    expect_whole();
}

TEST_F(Collecting, WhatWasPinnedMeanwhileIsNotForgotten) {
    const Made made = make({noise_blob(1, 5000)});
    RevisionChange pin;
    pin.pin = true;
    const RevisionId pinned = must(revise(*repository, &backend, {made.id}, pin, {}))[0].after.id;
    forget(pinned);  // by a rule that was asked before the pin
    const Snapshot snapshot = must(repository->load_revision(pinned));
    EXPECT_FALSE(parse_revision_tags(snapshot.tags).trashed);
    EXPECT_EQ(count(backend, FileType::snapshot), 1u);
}

// ---- what must not be believed

TEST_F(Collecting, NothingIsTouchedWhileClocksDisagree) {
    const Made old = make({noise_blob(1, 5000)});
    forget(old.id);
    StillClock ahead;
    ahead.advance(2h);
    auto other = open_repository(backend, ahead);
    auto session = must(other->start_write({}, {}));
    const std::size_t snapshots = count(backend, FileType::snapshot);
    Result<CollectResult> result = run(request());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(count(backend, FileType::snapshot), snapshots);
    session.reset();
    EXPECT_EQ(collected().revisions_removed, 1u);
}

TEST_F(Collecting, AListingWithoutAnyRevisionIsNotBelieved) {
    const Made made = make({noise_blob(1, 5000)});
    must(backend.remove({FileType::snapshot, id_cast<FileId>(made.id)}));
    repository = open_repository(backend, clock);
    CollectRequest wanted = request();
    wanted.expects_revisions = true;
    ASSERT_FALSE(run(wanted).ok());
    EXPECT_TRUE(repository->marks().empty());
    wanted.expects_revisions = false;  // nobody made any, or they were removed by us
    EXPECT_EQ(must(run(wanted)).packs_marked, 2u);
}

TEST_F(Collecting, ThatTheLastRevisionGoesIsToldBefore) {
    const Made first = make({noise_blob(1, 5000)});
    const Made last = make({noise_blob(2, 5000)});
    CollectRequest wanted = request();
    wanted.expects_revisions = true;
    std::size_t told = 0, there = 0;
    wanted.emptying = [&]() -> Result<> {
        ++told;
        there = count(backend, FileType::snapshot);
        return {};
    };
    forget(first.id);
    EXPECT_EQ(must(run(wanted)).revisions_left, 1u);
    EXPECT_EQ(told, 0u);
    forget(last.id);
    EXPECT_EQ(must(run(wanted)).revisions_left, 0u);
    EXPECT_EQ(told, 1u);
    EXPECT_EQ(there, 1u) << "before it was removed";
}

// Something happens right before the first index file is stored.
class HookedBackend final : public Backend {
  public:
    explicit HookedBackend(Backend& behind) : behind_(behind) {}
    std::function<void()> before_index;

    BackendProperties properties() const override { return behind_.properties(); }
    Result<> put(const Handle& handle, ByteView content) override {
        if (handle.type == FileType::index && before_index) std::exchange(before_index, nullptr)();
        return behind_.put(handle, content);
    }
    Result<Bytes> get(const Handle& handle, ByteRange range) override {
        return behind_.get(handle, range);
    }
    Result<FileInfo> stat(const Handle& handle) override { return behind_.stat(handle); }
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override {
        return behind_.list(type, each);
    }
    Result<> remove_lock(const LockId& id) override { return behind_.remove_lock(id); }
    Result<> create() override { return behind_.create(); }

  private:
    Backend& behind_;
};

TEST_F(Collecting, APackThatAnIndexNamesMeanwhileStays) {
    make({text_blob(1)});
    const Bytes lost = noise_blob(20, 5000);
    PackId pack;
    {
        // A pack that no index names.
        const auto before = backend.files();
        auto session = must(repository->start_write({.pack_bytes = 4096}, {}));
        must(session->save(BlobType::data, lost));
        while (backend.files().size() < before.size() + 2) std::this_thread::yield();
        for (const auto& [key, file] : backend.files())
            if (key.first == FileType::pack && !before.contains(key))
                pack = id_cast<PackId>(key.second);
    }
    EXPECT_EQ(collected().packs_marked, 1u);
    clock.advance(25h);

    HookedBackend hooked(backend);
    auto collecting = open_repository(hooked, clock);
    hooked.before_index = [&] {
        // Another program, a repair for one, names it, and a revision relies on it.
        auto other = open_repository(backend, clock);
        const Bytes content = *backend.files().at({FileType::pack, id_cast<FileId>(pack)});
        const auto blobs = must(decode_pack_tail(content, content.size(), 2, other->master_key()));
        IndexEncoder encoder;
        encoder.add_pack(pack, blobs);
        must(other->store_unpacked(FileType::index, encoder.finish()));
        make({lost}, other.get());
    };
    const CollectResult result = must(run(request(), collecting.get()));
    EXPECT_FALSE(hooked.before_index) << "it happened";
    EXPECT_EQ(result.packs_removed, 0u);
    expect_whole();
}

}  // namespace
}  // namespace backup
