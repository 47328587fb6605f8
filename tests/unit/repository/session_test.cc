#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "daemon/repository/blob_codec.h"
#include "daemon/repository/checker.h"
#include "daemon/repository/lock_file.h"
#include "tests/support/flaky_backend.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

const WriteOptions kSmallPacks{.pack_bytes = 8 << 10, .most_upload_bytes = 16 << 10};

CheckResult check_all(Repository& repository) {
    Progress progress;
    return must(check_repository(repository, {.data_percent = 100}, progress, {}));
}

std::string findings_of(const CheckResult& result) {
    std::string text;
    for (const CheckFinding& finding : result.findings)
        text += finding.object + ": " + finding.message + "\n";
    return text;
}

// Saves blobs 0..count-1 and a tree that names them, and commits.
Result<RevisionId> write_revision(Repository& repository, int count,
                                  WriteOptions options = kSmallPacks, int first = 0) {
    auto session = TRY(repository.start_write(options, {}));
    std::vector<BlobId> content;
    std::uint64_t bytes = 0;
    for (int i = first; i < first + count; ++i) {
        const Bytes blob =
            i % 3 == 0 ? noise_blob(static_cast<std::uint64_t>(i) + 1, 3000) : text_blob(i, 1000);
        content.push_back(TRY(session->save(BlobType::data, blob)).id);
        bytes += blob.size();
    }
    BlobId tree = TRY(session->save(BlobType::tree, file_tree(content, bytes))).id;
    return session->commit(snapshot_of(tree));
}

struct Sessions : testing::Test {
    StillClock clock;
    MemoryBackend backend;
    std::unique_ptr<Repository> repository = make_repository(backend, clock);

    std::vector<FileId> list(FileType type) {
        std::vector<FileId> ids;
        must(backend.list(type, [&](const FileInfo& info) { ids.push_back(info.id); }));
        return ids;
    }
    // What `restic unlock --remove-all` does.
    void remove_locks() {
        for (const FileId& id : list(FileType::lock)) must(backend.remove({FileType::lock, id}));
    }
    void remove_all(FileType type) {
        for (const FileId& id : list(type)) must(backend.remove({type, id}));
    }
};

TEST_F(Sessions, WhatWasSavedIsReadBackByAFreshRepository) {
    std::map<BlobId, Bytes> saved;
    std::vector<BlobId> content;
    BlobId tree;
    {
        auto session = must(repository->start_write(kSmallPacks, {}));
        int number = 0;
        std::uint64_t bytes = 0;
        for (std::size_t size : {1, 2, 31, 32, 33, 100, 4096, 8191, 8192, 8193, 20'000, 300'000}) {
            for (bool is_text : {true, false}) {
                Bytes blob = is_text ? text_blob(++number, size)
                                     : noise_blob(static_cast<std::uint64_t>(++number), size);
                SavedBlob result = must(session->save(BlobType::data, blob));
                EXPECT_EQ(result.id, blob_id(blob));
                content.push_back(result.id);
                bytes += size;
                saved[result.id] = std::move(blob);
            }
        }
        tree = must(session->save(BlobType::tree, file_tree(content, bytes))).id;
        EXPECT_TRUE(session->contains({BlobType::tree, tree}));
        EXPECT_FALSE(session->contains({BlobType::data, tree}));
        must(session->commit(snapshot_of(tree)));
        EXPECT_EQ(session->counters().tree_blobs_new, 1u);
        EXPECT_EQ(session->counters().data_blobs_new, saved.size());
        EXPECT_EQ(session->counters().packs_stored, list(FileType::pack).size());
    }
    EXPECT_TRUE(list(FileType::lock).empty());
    auto fresh = open_repository(backend, clock);
    must(fresh->refresh_index({}));
    for (const auto& [id, blob] : saved)
        EXPECT_EQ(must(fresh->blobs().load({BlobType::data, id})), blob);
    EXPECT_EQ(must(fresh->list_revisions()).size(), 1u);
    CheckResult result = check_all(*fresh);
    EXPECT_EQ(result.errors + result.hints, 0u) << findings_of(result);
    EXPECT_EQ(result.blobs_checked, saved.size() + 1);
}

TEST_F(Sessions, KnownBlobsAreNotStoredAgain) {
    must(write_revision(*repository, 10));
    const std::size_t packs = list(FileType::pack).size(), indexes = list(FileType::index).size();
    auto session = must(repository->start_write({}, {}));
    for (int i = 0; i < 10; ++i) {
        SavedBlob saved = must(session->save(
            BlobType::data,
            i % 3 == 0 ? noise_blob(static_cast<std::uint64_t>(i) + 1, 3000) : text_blob(i, 1000)));
        EXPECT_FALSE(saved.is_new);
        EXPECT_EQ(saved.stored_bytes, 0u);
    }
    must(session->checkpoint());
    EXPECT_EQ(list(FileType::pack).size(), packs);
    EXPECT_EQ(list(FileType::index).size(), indexes);
}

TEST_F(Sessions, ManyThreadsSavingTheSameStoreItOnce) {
    constexpr int kBlobs = 500;
    std::atomic<int> stored{0};
    auto session = must(repository->start_write(kSmallPacks, {}));
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < kBlobs; ++i)
                    if (must(session->save(BlobType::data, text_blob(i, 500))).is_new) ++stored;
            });
        }
    }
    BlobId tree = must(session->save(BlobType::tree, empty_tree())).id;
    must(session->commit(snapshot_of(tree)));
    EXPECT_EQ(stored, kBlobs);
    CheckResult result = check_all(*repository);
    EXPECT_EQ(result.errors + result.hints, 0u) << findings_of(result);
    EXPECT_EQ(result.blobs_checked, static_cast<std::uint64_t>(kBlobs) + 1);
}

TEST_F(Sessions, PacksHoldOneTypeAndReachTheirTarget) {
    must(write_revision(*repository, 100));
    std::map<PackId, std::set<BlobType>> types;
    repository->each_indexed([&](const BlobHandle& handle, const BlobLocation& place) {
        types[place.pack].insert(handle.type);
        if (handle.type == BlobType::tree) {
            EXPECT_NE(place.uncompressed_length, 0u);
        }
    });
    for (const auto& [pack, kinds] : types) EXPECT_EQ(kinds.size(), 1u);
    std::size_t small = 0;
    for (const auto& [key, content] : backend.files()) {
        if (key.first != FileType::pack) continue;
        EXPECT_LT(content->size(), 2 * kSmallPacks.pack_bytes + 2000);
        small += content->size() < kSmallPacks.pack_bytes ? 1 : 0;
    }
    // The trees, the half pack that data begins with, and what was left of it in two open packs.
    EXPECT_LE(small, 4u);
}

TEST_F(Sessions, TheFirstPackOfOneSideIsHalfSoThatTheTwoAreNeverFullTogether) {
    constexpr std::size_t kPack = 64 << 10, kBlob = 256;
    auto session =
        must(repository->start_write({.pack_bytes = kPack, .most_upload_bytes = 4 << 20}, {}));
    // As much as 1.6 packs: the half one is full, the other side is not, and together the rests are
    // too long to be merged.
    for (std::uint64_t i = 1; i * (kBlob + kSealOverhead) < kPack * 16 / 10; ++i)
        must(session->save(BlobType::data, noise_blob(i, kBlob)));
    must(session->checkpoint());
    std::vector<std::size_t> sizes;
    for (const FileId& id : list(FileType::pack))
        sizes.push_back(must(backend.get({FileType::pack, id}, {})).size());
    std::ranges::sort(sizes);
    ASSERT_EQ(sizes.size(), 3u) << "the half pack, and what was open when the checkpoint came";
    EXPECT_TRUE(std::ranges::any_of(
        sizes, [](std::size_t size) { return size >= kPack / 2 && size < kPack * 3 / 4; }))
        << sizes[0] << " " << sizes[1] << " " << sizes[2];
}

TEST_F(Sessions, SmallRestsAreMergedIntoOnePack) {
    auto session = must(repository->start_write({}, {}));
    for (int i = 0; i < 50; ++i) must(session->save(BlobType::data, text_blob(i, 100)));
    must(session->checkpoint());
    EXPECT_EQ(list(FileType::pack).size(), 1u);
    EXPECT_EQ(check_all(*repository).errors, 0u);
}

TEST_F(Sessions, StoresRawWhatDoesNotCompress) {
    auto session = must(repository->start_write({}, {}));
    const BlobId noise = must(session->save(BlobType::data, noise_blob(3, 10'000))).id;
    const BlobId text = must(session->save(BlobType::data, text_blob(1, 10'000))).id;
    must(session->checkpoint());
    EXPECT_EQ(repository->blobs().locate({BlobType::data, noise})->uncompressed_length, 0u);
    EXPECT_EQ(repository->blobs().locate({BlobType::data, text})->uncompressed_length, 10'000u);
}

TEST_F(Sessions, TakesTheTreeOfAHugeDirectory) {
    auto session = must(repository->start_write({}, {}));
    const Bytes large = text_blob(1, 21'000'000);   // compressed, verified in pieces
    const Bytes noise = noise_blob(1, 18'000'001);  // a pack of its own, stored raw
    must(session->save(BlobType::tree, large));
    must(session->save(BlobType::data, noise));
    must(session->checkpoint());
    EXPECT_EQ(must(repository->blobs().load({BlobType::tree, blob_id(large)})), large);
    EXPECT_EQ(must(repository->blobs().load({BlobType::data, blob_id(noise)})), noise);
}

TEST_F(Sessions, WithoutCommitNothingIsVisibleAndACheckpointSavesTheWork) {
    {
        auto session = must(repository->start_write({}, {}));
        must(session->save(BlobType::data, text_blob(1)));
    }
    EXPECT_TRUE(list(FileType::index).empty());
    EXPECT_TRUE(list(FileType::lock).empty());
    {
        auto session = must(repository->start_write({}, {}));
        EXPECT_TRUE(must(session->save(BlobType::data, text_blob(1))).is_new);
        must(session->checkpoint());
    }
    EXPECT_TRUE(must(repository->list_revisions()).empty());
    auto fresh = open_repository(backend, clock);
    auto session = must(fresh->start_write({}, {}));
    EXPECT_FALSE(must(session->save(BlobType::data, text_blob(1))).is_new);
}

TEST_F(Sessions, DoNotRelyOnWhatAnotherMayNeverFinish) {
    auto one = must(repository->start_write({}, {}));
    auto two = must(repository->start_write({}, {}));
    EXPECT_TRUE(must(one->save(BlobType::data, text_blob(1))).is_new);
    EXPECT_FALSE(two->contains({BlobType::data, blob_id(text_blob(1))}));
    EXPECT_TRUE(must(two->save(BlobType::data, text_blob(1))).is_new);
    one.reset();
    must(two->commit(
        snapshot_of(must(two->save(BlobType::tree, file_tree({blob_id(text_blob(1))}, 200))).id)));
    CheckResult result = check_all(*repository);
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
}

TEST_F(Sessions, TwoAtOnceBothFinish) {
    auto other = open_repository(backend, clock);
    {
        std::jthread first([&] { must(write_revision(*repository, 60)); });
        std::jthread second([&] { must(write_revision(*other, 60, kSmallPacks, 30)); });
    }
    auto fresh = open_repository(backend, clock);
    EXPECT_EQ(must(fresh->list_revisions()).size(), 2u);
    CheckResult result = check_all(*fresh);
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
}

TEST_F(Sessions, CommitRefusesATreeThatWasNotSaved) {
    auto session = must(repository->start_write({}, {}));
    auto committed = session->commit(snapshot_of(blob_id(text_blob(5))));
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().kind(), ErrorKind::invalid);
}

TEST_F(Sessions, IndexIsWrittenEvery50000Blobs) {
    auto session = must(repository->start_write({.pack_bytes = 1 << 20}, {}));
    // 50,000 blobs of 40 bytes are 3.6 MB of packs: the index file comes with the pack that is
    // stored after that.
    for (int i = 0; i < 75'000; ++i) must(session->save(BlobType::data, text_blob(i, 40)));
    must(session->checkpoint());
    EXPECT_EQ(list(FileType::index).size(), 2u);
}

TEST_F(Sessions, IndexIsWrittenEveryTenMinutes) {
    auto session = must(repository->start_write(kSmallPacks, {}));
    auto fill_a_pack = [&](int first) {
        for (int i = first; i < first + 40; ++i)
            must(
                session->save(BlobType::data, noise_blob(static_cast<std::uint64_t>(i) + 1, 1000)));
    };
    fill_a_pack(0);
    clock.advance(std::chrono::minutes(11));
    fill_a_pack(100);
    must(session->checkpoint());
    EXPECT_GE(list(FileType::index).size(), 2u);
}

TEST_F(Sessions, UploadErrorReachesTheNextSaveAndTheCommit) {
    FlakyBackend flaky(backend);
    auto over = open_repository(flaky, clock);
    auto session = must(over->start_write(kSmallPacks, {}));
    flaky.fail_at(0, FlakyBackend::Fault::error, FlakyBackend::Calls::changing,
                  Error(ErrorKind::no_space, ErrorCode::no_space, "full"));
    std::optional<Error> seen;
    for (int i = 0; i < 10'000 && !seen; ++i) {
        auto saved =
            session->save(BlobType::data, noise_blob(static_cast<std::uint64_t>(i) + 1, 1000));
        if (!saved.ok()) seen = saved.error();
    }
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->kind(), ErrorKind::no_space);
    auto committed = session->commit(snapshot_of(blob_id(empty_tree())));
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().code(), ErrorCode::no_space);
}

// Uploads wait until they are let go.
class SlowBackend final : public Backend {
  public:
    explicit SlowBackend(Backend& behind) : behind_(behind) {}
    void let_go() { open_ = true, open_.notify_all(); }
    BackendProperties properties() const override { return behind_.properties(); }
    Result<> put(const Handle& handle, ByteView content) override {
        if (handle.type == FileType::pack) open_.wait(false);
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
    std::atomic<bool> open_{false};
};

TEST_F(Sessions, StopEndsABlockedSaveAndACheckpointKeepsTheRest) {
    SlowBackend slow(backend);
    auto over = open_repository(slow, clock);
    std::stop_source stop;
    auto session = must(over->start_write(kSmallPacks, stop.get_token()));
    std::uint64_t saved = 0;
    std::jthread stopper;
    std::optional<Error> seen;
    for (std::uint64_t i = 0; !seen; ++i) {
        // Far beyond the bound on uploads: the save blocks, so nobody but the stop can end it.
        if (i == 1) stopper = std::jthread([&] { stop.request_stop(); });
        auto result = session->save(BlobType::data, noise_blob(i + 1, 1000));
        if (result.ok())
            ++saved;
        else
            seen = result.error();
        ASSERT_LT(saved, 100u);  // the bound is 16 KiB, plus the packs that are open
    }
    EXPECT_EQ(seen->kind(), ErrorKind::cancelled);
    slow.let_go();
    must(session->checkpoint());
    auto committed = session->commit(snapshot_of(blob_id(empty_tree())));
    ASSERT_FALSE(committed.ok());
    session.reset();
    CheckResult result = check_all(*open_repository(backend, clock));
    EXPECT_EQ(result.errors + result.hints, 0u) << findings_of(result);
    EXPECT_EQ(result.blobs_checked, saved);
}

// ---- the lock

TEST_F(Sessions, ForeignExclusiveLockIsRespected) {
    auto key = must(repository->add_key(as_bytes("second"), kQuickKey));
    auto writing = must(repository->start_write({}, {}));
    auto removed = repository->remove_key(key, backend);
    ASSERT_FALSE(removed.ok());
    EXPECT_EQ(removed.error().code(), ErrorCode::repository_locked);
}

TEST_F(Sessions, LostLockIsTakenAgainWhenNothingElseChanged) {
    auto session = must(repository->start_write(kSmallPacks, {}));
    for (int i = 0; i < 40; ++i)
        must(session->save(BlobType::data, noise_blob(static_cast<std::uint64_t>(i) + 1, 1000)));
    remove_locks();
    BlobId tree =
        must(session->save(BlobType::tree, file_tree({blob_id(noise_blob(1, 1000))}, 1000))).id;
    must(session->commit(snapshot_of(tree)));
    EXPECT_EQ(list(FileType::lock).size(), 1u);
    EXPECT_EQ(check_all(*repository).errors, 0u);
}

TEST_F(Sessions, LostLockAndPrunedBlobsAreAConflict) {
    must(write_revision(*repository, 5));
    auto session = must(repository->start_write({}, {}));
    EXPECT_FALSE(must(session->save(BlobType::data, text_blob(1, 1000))).is_new);
    // Somebody removes our lock, forgets the revision and prunes.
    remove_locks();
    remove_all(FileType::snapshot);
    remove_all(FileType::index);
    remove_all(FileType::pack);
    BlobId tree =
        must(session->save(BlobType::tree, file_tree({blob_id(text_blob(1, 1000))}, 1000))).id;
    auto committed = session->commit(snapshot_of(tree));
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().kind(), ErrorKind::conflict);
    EXPECT_TRUE(list(FileType::snapshot).empty());
}

TEST_F(Sessions, LostLockAndPrunedBlobsNobodyNeedsAreNone) {
    must(write_revision(*repository, 5));
    auto session = must(repository->start_write({}, {}));
    remove_locks();
    remove_all(FileType::snapshot);
    remove_all(FileType::index);
    remove_all(FileType::pack);
    must(session->save(BlobType::data, text_blob(1'000)));
    must(session->commit(snapshot_of(must(session->save(BlobType::tree, empty_tree())).id)));
    EXPECT_EQ(check_all(*repository).errors, 0u);
}

TEST_F(Sessions, LostLockAndVanishedPacksOfThisRunAreAConflict) {
    auto session = must(repository->start_write(kSmallPacks, {}));
    for (int i = 0; i < 40; ++i)
        must(session->save(BlobType::data, noise_blob(static_cast<std::uint64_t>(i) + 1, 1000)));
    // Stored packs that no index names yet are garbage to a prune. Wait for one by storing the
    // rest, without its index.
    while (list(FileType::pack).empty()) std::this_thread::yield();
    remove_locks();
    const FileId pack = list(FileType::pack).front();
    must(backend.remove({FileType::pack, pack}));
    auto written = session->checkpoint();
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().kind(), ErrorKind::conflict);
    EXPECT_TRUE(list(FileType::index).empty());
}

TEST_F(Sessions, LostLockAndAnExclusiveOneInItsPlaceIsAConflict) {
    auto session = must(repository->start_write({}, {}));
    must(session->save(BlobType::data, text_blob(1)));
    remove_locks();
    auto other = open_repository(backend, clock);
    LockFile lock;
    lock.time = clock.now();
    lock.exclusive = true;
    lock.hostname = "elsewhere";
    Bytes sealed = repository->master_key().seal(as_bytes(encode_lock(lock)));
    must(backend.put({FileType::lock, content_id(sealed)}, sealed));
    auto committed = session->checkpoint();
    ASSERT_FALSE(committed.ok());
    EXPECT_EQ(committed.error().code(), ErrorCode::repository_locked);
    EXPECT_TRUE(list(FileType::index).empty());
}

// ---- version 1

TEST(VersionOne, IsWrittenUncompressed) {
    StillClock clock;
    MemoryBackend backend;
    backend.set_files(fixture_files("v1"));
    const std::string password = read_fixture_text(fixture("restic/v1/password.txt"));
    auto repository = must(Repository::open(backend, as_bytes(password), {.clock = &clock}));
    must(write_revision(*repository, 20));
    repository->each_indexed([](const BlobHandle&, const BlobLocation& place) {
        EXPECT_EQ(place.uncompressed_length, 0u);
    });
    CheckResult result = check_all(*repository);
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
    EXPECT_EQ(result.revisions, 2u);
}

// ---- faults

struct FaultCase {
    FlakyBackend::Fault fault;
    FlakyBackend::Calls calls;
};
class EveryFault : public testing::TestWithParam<FaultCase> {};

TEST_P(EveryFault, LeavesACleanRepositoryAndNoHalfRevision) {
    const FaultCase what = GetParam();
    StillClock clock;
    MemoryBackend start;
    {
        auto repository = make_repository(start, clock);
        must(write_revision(*repository, 5, kSmallPacks, 1'000));
    }
    int ran = 0;
    for (std::uint64_t n = 0;; ++n, ++ran) {
        MemoryBackend backend;
        backend.set_files(start.files());
        FlakyBackend flaky(backend);
        MemoryLockJournal journal;
        bool is_committed = false;
        {
            auto repository = open_repository(flaky, clock, &journal);
            flaky.fail_at(n, what.fault, what.calls);
            is_committed = write_revision(*repository, 25).ok();
        }
        const bool was_hit = flaky.has_failed();
        auto after = open_repository(backend, clock, &journal);
        EXPECT_EQ(count(backend, FileType::lock), 0u)
            << n;  // removed at the end, or at the next open
        const std::size_t revisions = must(after->list_revisions()).size();
        // One whose answer was lost may be there; then it is whole, as the check will tell.
        const bool is_sure = what.fault != FlakyBackend::Fault::error_after &&
                             what.calls == FlakyBackend::Calls::changing;
        if (is_committed || is_sure) {
            EXPECT_EQ(revisions, is_committed ? 2u : 1u) << n;
        }
        CheckResult result = check_all(*after);
        EXPECT_EQ(result.errors, 0u) << n << "\n" << findings_of(result);
        // And it goes on as if nothing had been.
        EXPECT_TRUE(write_revision(*after, 25).ok()) << n;
        if (!was_hit) {
            EXPECT_TRUE(is_committed);
            break;
        }
    }
    EXPECT_GT(ran, 5);  // packs differ from run to run
}

INSTANTIATE_TEST_SUITE_P(
    Faults, EveryFault,
    testing::Values(FaultCase{FlakyBackend::Fault::error, FlakyBackend::Calls::changing},
                    FaultCase{FlakyBackend::Fault::error_after, FlakyBackend::Calls::changing},
                    FaultCase{FlakyBackend::Fault::power_loss, FlakyBackend::Calls::changing},
                    FaultCase{FlakyBackend::Fault::error, FlakyBackend::Calls::all},
                    FaultCase{FlakyBackend::Fault::power_loss, FlakyBackend::Calls::all}));

TEST(LostAnswer, ToTheSnapshotItselfIsNoFailureOfTheRun) {
    StillClock clock;
    MemoryBackend start;
    make_repository(start, clock);
    int lost_answers_to_good_runs = 0;
    for (std::uint64_t n = 0;; ++n) {
        MemoryBackend backend;
        backend.set_files(start.files());
        FlakyBackend flaky(backend);
        auto repository = open_repository(flaky, clock);
        flaky.fail_at(n, FlakyBackend::Fault::error_after, FlakyBackend::Calls::changing,
                      Error(ErrorKind::transient, "the line broke"));
        const bool is_committed = write_revision(*repository, 5).ok();
        EXPECT_EQ(count(backend, FileType::snapshot), is_committed ? 1u : 0u) << n;
        if (!flaky.has_failed()) break;
        lost_answers_to_good_runs += is_committed ? 1 : 0;
    }
    EXPECT_GE(lost_answers_to_good_runs, 1);
}

EncodeStage faulty_stage;
int faults_left = 0;
void flip_a_bit(EncodeStage stage, ByteView bytes) {
    if (stage != faulty_stage || faults_left == 0) return;
    --faults_left;
    // Never the same bit twice: that would mend it.
    const_cast<std::uint8_t&>(bytes[bytes.size() / 2 + static_cast<std::size_t>(faults_left)]) ^= 8;
}

TEST_F(Sessions, MemoryFaultsAreFoundBeforeTheUpload) {
    for (EncodeStage stage :
         {EncodeStage::plaintext, EncodeStage::compressed, EncodeStage::sealed}) {
        for (bool is_text : {true, false}) {
            for (int faults : {1, 2}) {
                auto session = must(repository->start_write({}, {}));
                faulty_stage = stage;
                faults_left = faults;
                set_encode_fault_for_test(flip_a_bit);
                Bytes blob = is_text ? text_blob(static_cast<int>(stage) + 10 * faults, 20'000)
                                     : noise_blob(static_cast<std::uint64_t>(stage) + 1, 20'000);
                auto saved = session->save(BlobType::data, blob);
                set_encode_fault_for_test(nullptr);
                // A fault that comes once is mended from the plaintext, unless that is what it hit.
                EXPECT_EQ(saved.ok(), faults == 1 && stage != EncodeStage::plaintext)
                    << static_cast<int>(stage) << is_text << faults;
            }
        }
    }
    EXPECT_TRUE(list(FileType::pack).empty());
}

TEST_F(Sessions, WhenTheLockWasLostTheRevisionThatIsContinuedMustStillBeThere) {
    const RevisionId parent = must(write_revision(*repository, 10));
    WriteOptions options = kSmallPacks;
    options.continues = parent;
    {
        auto session = must(repository->start_write(options, {}));
        must(session->save(BlobType::data, text_blob(100)));
        remove_locks();
        EXPECT_TRUE(session->checkpoint().ok()) << "it is there, and so is all that it needs";
    }
    auto session = must(repository->start_write(options, {}));
    must(session->save(BlobType::data, text_blob(101)));
    remove_locks();
    must(backend.remove({FileType::snapshot, id_cast<FileId>(parent)}));
    auto kept = session->checkpoint();
    ASSERT_FALSE(kept.ok());
    EXPECT_EQ(kept.error().kind(), ErrorKind::conflict);
}

}  // namespace
}  // namespace backup
