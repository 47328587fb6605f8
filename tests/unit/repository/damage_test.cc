// What is known to be damaged is not relied on, and not forgotten.
#include "daemon/repository/checker.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

class KnownDamage : public testing::Test {
  protected:
    KnownDamage() {
        make_repository(backend, clock).reset();
        repository = open();
        make();
    }
    std::unique_ptr<Repository> open() {
        RepositoryOptions options = options_for_test(clock, nullptr);
        options.damage_journal = &journal;
        return must(Repository::open(backend, quick_password(), options));
    }
    static Bytes blob(int i) { return noise_blob(static_cast<std::uint64_t>(i) + 1, 1000); }
    static BlobHandle handle(int i) { return {BlobType::data, blob_id(blob(i))}; }
    // A revision with blobs 0 to 9, in one pack, and a tree. True for each that was stored.
    std::vector<bool> make() {
        std::vector<bool> stored;
        auto session = must(repository->start_write({}, {}));
        std::vector<BlobId> content;
        for (int i = 0; i < 10; ++i) {
            SavedBlob saved = must(session->save(BlobType::data, blob(i)));
            content.push_back(saved.id);
            stored.push_back(saved.is_new);
        }
        must(session->commit(
            snapshot_of(must(session->save(BlobType::tree, file_tree(content, 10'000))).id)));
        return stored;
    }
    PackId pack_of(const BlobHandle& of) { return repository->blobs().locate(of)->pack; }
    Handle file_of(const PackId& pack) { return {FileType::pack, id_cast<FileId>(pack)}; }
    void damage(const BlobHandle& which) {
        const BlobLocation place = *repository->blobs().locate(which);
        Bytes content = *backend.files().at({FileType::pack, id_cast<FileId>(place.pack)});
        content[place.offset + 40] ^= 1;
        backend.overwrite(file_of(place.pack), std::move(content));
    }
    CheckResult verify() {
        Progress progress;
        return must(check_repository(*repository, {.data_percent = 100}, progress, {}));
    }
    std::vector<bool> only(int which) {
        std::vector<bool> all(10);
        all[static_cast<std::size_t>(which)] = true;
        return all;
    }

    StillClock clock;
    MemoryBackend backend;
    MemoryDamageJournal journal;
    std::unique_ptr<Repository> repository;
};

TEST_F(KnownDamage, FoundByReadingIsStoredAnew) {
    damage(handle(3));
    EXPECT_FALSE(repository->blobs().check(handle(3)).ok());
    {
        auto session = must(repository->start_write({}, {}));
        EXPECT_FALSE(session->contains(handle(3)));
        EXPECT_TRUE(session->contains(handle(4)));
    }
    EXPECT_EQ(make(), only(3));
    EXPECT_EQ(must(repository->blobs().load(handle(3))), blob(3));
    EXPECT_EQ(make(), std::vector<bool>(10)) << "once is enough";
}

TEST_F(KnownDamage, FoundByAVerifyIsStoredAnew) {
    damage(handle(3));
    EXPECT_NE(verify().errors, 0u);
    EXPECT_EQ(make(), only(3));
    const CheckResult again = verify();
    EXPECT_NE(again.errors, 0u) << "the damage is still there";
    for (const CheckFinding& finding : again.findings)
        EXPECT_EQ(finding.object.find("tree"), std::string::npos)
            << "but no file is hit any more: " << finding.message;
}

TEST_F(KnownDamage, OfATreeIsStoredAnew) {
    BlobHandle tree{BlobType::tree, must(repository->list_revisions()).front().snapshot.tree};
    damage(tree);
    EXPECT_FALSE(repository->blobs().load(tree).ok());
    make();
    EXPECT_TRUE(repository->blobs().load(tree).ok());
}

TEST_F(KnownDamage, ThatAPackIsMissingCounts) {
    must(backend.remove(file_of(pack_of(handle(0)))));
    EXPECT_NE(verify().errors, 0u);
    EXPECT_EQ(make(), std::vector<bool>(10, true));
    EXPECT_EQ(must(repository->blobs().load(handle(0))), blob(0));
}

TEST_F(KnownDamage, ThatAPackIsGoneShowsWhenItIsRead) {
    must(backend.remove(file_of(pack_of(handle(0)))));
    EXPECT_FALSE(repository->blobs().check(handle(0)).ok());
    EXPECT_EQ(make(), std::vector<bool>(10, true));
}

TEST_F(KnownDamage, OutlivesTheProcess) {
    damage(handle(3));
    EXPECT_FALSE(repository->blobs().check(handle(3)).ok());
    repository = open();
    EXPECT_EQ(make(), only(3));
}

TEST_F(KnownDamage, IsStruckOutWhenThePackIsReadAndGood) {
    const PackId pack = pack_of(handle(3));
    const Bytes good = *backend.files().at({FileType::pack, id_cast<FileId>(pack)});
    damage(handle(3));
    EXPECT_NE(verify().errors, 0u);
    EXPECT_TRUE(repository->damage().has(pack, handle(3)));
    backend.overwrite(file_of(pack), good);
    EXPECT_EQ(verify().errors, 0u);
    EXPECT_FALSE(repository->damage().any());
    EXPECT_TRUE(journal.remembered("").empty());
    EXPECT_EQ(make(), std::vector<bool>(10));
}

TEST_F(KnownDamage, IsLookedAtByEveryVerify) {
    damage(handle(3));
    EXPECT_NE(verify().errors, 0u);
    Progress progress;
    auto look = [&] { return must(check_repository(*repository, {}, progress, {})); };
    EXPECT_NE(look().errors, 0u) << "though only the structure was asked for";
    EXPECT_EQ(look().packs_read, 1u);
}

TEST_F(KnownDamage, IsStruckOutWhenNoIndexNamesThePack) {
    const PackId pack = pack_of(handle(3));
    repository->damage().add({{pack, handle(3)}});
    std::vector<FileId> indexes;
    must(backend.list(FileType::index, [&](const FileInfo& info) { indexes.push_back(info.id); }));
    for (const FileId& id : indexes) must(backend.remove({FileType::index, id}));
    make();
    EXPECT_FALSE(repository->damage().any());
}

TEST_F(KnownDamage, IsReadOnlyWhenThereIsNothingBetter) {
    damage(handle(3));
    EXPECT_FALSE(repository->blobs().check(handle(3)).ok());
    const PackId bad = pack_of(handle(3));
    make();
    EXPECT_NE(pack_of(handle(3)), bad);
    EXPECT_EQ(pack_of(handle(4)), bad);
}

}  // namespace
}  // namespace backup
