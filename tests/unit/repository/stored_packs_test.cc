// Packs that a killed run stored: the next one finds them, and trusts none that is not there.
#include "daemon/repository/stored_packs.h"

#include "daemon/repository/checker.h"
#include "tests/support/flaky_backend.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

class StoredPacks : public testing::Test {
  protected:
    static constexpr int kBlobs = 60;

    StoredPacks() { make_repository(backend, clock).reset(); }

    std::unique_ptr<Repository> open(Backend& over) {
        RepositoryOptions options = options_for_test(clock, nullptr);
        options.pack_journal = &journal;
        return must(Repository::open(over, quick_password(), options));
    }
    static WriteOptions of(const std::string& owner) {
        return {.pack_bytes = 8 << 10, .most_upload_bytes = 16 << 10, .owner = owner};
    }
    static Bytes blob(int i) { return noise_blob(static_cast<std::uint64_t>(i) + 1, 1000); }
    static int save_all(WriteSession& session) {
        int stored = 0;
        for (int i = 0; i < kBlobs; ++i)
            stored += must(session.save(BlobType::data, blob(i))).is_new ? 1 : 0;
        return stored;
    }
    // A run that ends without a word to the index: what was open is lost, as with a kill.
    void killed(const std::string& owner = "home") {
        auto repository = open(backend);
        auto session = must(repository->start_write(of(owner), {}));
        save_all(*session);
        ASSERT_GT(session->counters().packs_stored, 2u);
        session.reset();
        ASSERT_EQ(count(backend, FileType::index), 0u);
    }
    // How many blobs the next run of the owner stores, and that it comes to a good end.
    int stored_again(const std::string& owner = "home") {
        auto repository = open(backend);
        auto session = must(repository->start_write(of(owner), {}));
        const int stored = save_all(*session);
        std::vector<BlobId> content;
        for (int i = 0; i < kBlobs; ++i) content.push_back(blob_id(blob(i)));
        must(session->commit(snapshot_of(
            must(session->save(BlobType::tree, file_tree(content, kBlobs * 1000))).id)));
        session.reset();
        Progress progress;
        const CheckResult result =
            must(check_repository(*repository, {.data_percent = 100}, progress, {}));
        EXPECT_EQ(result.errors, 0u)
            << (result.findings.empty() ? std::string() : result.findings.front().message);
        return stored;
    }
    std::vector<FileId> packs() {
        std::vector<FileId> ids;
        must(backend.list(FileType::pack, [&](const FileInfo& info) { ids.push_back(info.id); }));
        return ids;
    }

    StillClock clock;
    MemoryBackend backend;
    MemoryPackJournal journal;
};

TEST_F(StoredPacks, AreFoundAgainAfterAKill) {
    killed();
    const std::size_t there = packs().size();
    EXPECT_GE(journal.size(), there);
    // Two packs were open.
    EXPECT_LE(stored_again(), 16);
    EXPECT_EQ(journal.size(), 0u) << "an index names all of them now";
}

TEST_F(StoredPacks, WithoutAnOwnerAreNobodys) {
    killed("");
    EXPECT_EQ(journal.size(), 0u);
    EXPECT_EQ(stored_again(), kBlobs);
}

TEST_F(StoredPacks, AreFoundByTheirOwnerOnly) {
    killed("home");
    {
        auto repository = open(backend);
        auto session = must(repository->start_write(of("photos"), {}));
        EXPECT_FALSE(session->contains({BlobType::data, blob_id(blob(0))}));
    }
    EXPECT_LE(stored_again("home"), 16);
}

TEST_F(StoredPacks, ThatNeverArrivedAreStoredAgain) {
    killed();
    for (const FileId& id : packs()) must(backend.remove({FileType::pack, id}));
    EXPECT_EQ(stored_again(), kBlobs);
    EXPECT_EQ(journal.size(), 0u);
}

TEST_F(StoredPacks, OfAnotherSizeAreNotTrusted) {
    killed();
    for (const FileId& id : packs()) {
        Bytes content = *backend.files().at({FileType::pack, id});
        content.insert(content.begin(), 1, 0);  // the header at its end is still good
        backend.overwrite({FileType::pack, id}, std::move(content));
    }
    EXPECT_EQ(stored_again(), kBlobs);
    EXPECT_EQ(journal.size(), 0u);
}

TEST_F(StoredPacks, WithoutAGoodHeaderAreNotTrusted) {
    killed();
    for (const FileId& id : packs()) {
        Bytes content = *backend.files().at({FileType::pack, id});
        content[content.size() - 20] ^= 1;
        backend.overwrite({FileType::pack, id}, std::move(content));
    }
    EXPECT_EQ(stored_again(), kBlobs);
}

TEST_F(StoredPacks, ThatAreMarkedAreNotTakenUp) {
    killed();
    {
        // As a collector of another machine does it, which knows nothing of our journal.
        auto repository = open(backend);
        IndexEncoder encoder;
        for (const FileId& id : packs())
            encoder.add_mark(id_cast<PackId>(id), {clock.now(), 1, true});
        must(repository->store_unpacked(FileType::index, encoder.finish()));
    }
    EXPECT_EQ(stored_again(), kBlobs);
    EXPECT_EQ(journal.size(), 0u);
}

TEST_F(StoredPacks, WaitForTheNextRunWhenTheyCannotBeLookedAt) {
    killed();
    const std::size_t known = journal.size();
    FlakyBackend flaky(backend);
    auto repository = open(flaky);
    must(repository->refresh_index({}));
    // A lock and its checks, the index, then the first pack.
    bool failed_there = false;
    for (std::uint64_t at = 0; at < 40; ++at) {
        flaky.fail_at(at, FlakyBackend::Fault::error, FlakyBackend::Calls::all,
                      Error(ErrorKind::transient, "lost contact"));
        auto session = repository->start_write(of("home"), {});
        flaky.heal();
        if (!session.ok()) continue;
        failed_there = journal.size() == known;
        if (failed_there) {
            EXPECT_EQ(count(backend, FileType::index), 0u);
        }
        break;
    }
    EXPECT_TRUE(failed_there) << "the session began without them, and they are not forgotten";
    repository.reset();
    EXPECT_LE(stored_again(), 16);
}

TEST_F(StoredPacks, TwoKillsInARowLoseNothing) {
    killed();
    {
        auto repository = open(backend);
        auto session = must(repository->start_write(of("home"), {}));
        for (int i = 0; i < kBlobs; ++i) must(session->save(BlobType::data, blob(1000 + i)));
    }
    EXPECT_LE(stored_again(), 16);
    auto repository = open(backend);
    auto session = must(repository->start_write(of("home"), {}));
    int known = 0;
    for (int i = 0; i < kBlobs; ++i)
        known += session->contains({BlobType::data, blob_id(blob(1000 + i))}) ? 1 : 0;
    EXPECT_GE(known, kBlobs - 16);
}

TEST_F(StoredPacks, MarkedWhileTheLockWasLostFailTheRun) {
    auto repository = open(backend);
    auto session = must(repository->start_write(of("home"), {}));
    save_all(*session);
    // What `restic unlock --remove-all` and then a collector elsewhere do.
    std::vector<FileId> locks;
    must(backend.list(FileType::lock, [&](const FileInfo& info) { locks.push_back(info.id); }));
    for (const FileId& id : locks) must(backend.remove({FileType::lock, id}));
    {
        auto other = open_repository(backend, clock);
        IndexEncoder encoder;
        for (const FileId& id : packs())
            encoder.add_mark(id_cast<PackId>(id), {clock.now(), 1, true});
        must(other->store_unpacked(FileType::index, encoder.finish()));
    }
    auto kept = session->checkpoint();
    ASSERT_FALSE(kept.ok());
    EXPECT_EQ(kept.error().kind(), ErrorKind::conflict);
}

}  // namespace
}  // namespace backup
