#include "daemon/repository/checker.h"

#include <algorithm>
#include <thread>

#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

std::string findings_of(const CheckResult& result) {
    std::string text;
    for (const CheckFinding& finding : result.findings)
        text += finding.object + ": " + finding.message + "\n";
    return text;
}

struct Checks : testing::Test {
    Checks() {
        repository = make_repository(backend, clock);
        auto session = must(repository->start_write({}, {}));
        std::vector<BlobId> content;
        for (int i = 0; i < 4; ++i)
            content.push_back(must(session->save(BlobType::data, text_blob(i, 60))).id);
        content.push_back(must(session->save(BlobType::data, noise_blob(9, 80))).id);
        must(session->commit(
            snapshot_of(must(session->save(BlobType::tree, file_tree(content, 320))).id)));
    }
    CheckResult check(double percent = 100) {
        Progress progress;
        return must(check_repository(*repository, {.data_percent = percent}, progress, {}));
    }
    // A repository that has not seen the files before they were damaged.
    void reopen() { repository = open_repository(backend, clock); }
    FileId only(FileType type) {
        FileId id{};
        must(backend.list(type, [&](const FileInfo& info) { id = info.id; }));
        return id;
    }
    // The pack that holds data, or the one that holds trees.
    Handle pack_of(BlobType type) {
        PackId pack{};
        must(repository->refresh_index({}));
        repository->each_indexed([&](const BlobHandle& handle, const BlobLocation& place) {
            if (handle.type == type) pack = place.pack;
        });
        return {FileType::pack, id_cast<FileId>(pack)};
    }

    StillClock clock;
    MemoryBackend backend;
    std::unique_ptr<Repository> repository;
};

TEST_F(Checks, FindNothingInAGoodRepository) {
    CheckResult result = check();
    EXPECT_EQ(result.errors + result.hints, 0u) << findings_of(result);
    EXPECT_EQ(result.packs, 2u);
    EXPECT_EQ(result.packs_read, 2u);
    EXPECT_EQ(result.blobs_checked, 6u);
    EXPECT_EQ(result.trees, 1u);
    EXPECT_EQ(result.revisions, 1u);
    EXPECT_EQ(check(0).packs_read, 0u);
    EXPECT_EQ(check(50).packs_read, 1u);
    EXPECT_EQ(count(backend, FileType::lock), 0u);
}

TEST_F(Checks, FindEveryFlippedByteOfEveryFile) {
    const MemoryBackend::Files good = backend.files();
    std::size_t flips = 0;
    for (const auto& [key, content] : good) {
        for (std::size_t at = 0; at < content->size(); ++at, ++flips) {
            Bytes damaged = *content;
            damaged[at] ^= static_cast<std::uint8_t>(1U << (at % 8));
            backend.set_files(good);
            backend.overwrite({key.first, key.second}, std::move(damaged));
            // The one that is open and has everything in its caches.
            CheckResult result = check();
            ASSERT_GT(result.errors, 0u) << to_string(key.first) << " byte " << at;
        }
    }
    EXPECT_GT(flips, 1500u);
}

TEST_F(Checks, FindTruncatedAndMissingFilesWithoutReadingData) {
    const MemoryBackend::Files good = backend.files();
    for (const auto& [key, content] : good) {
        for (std::size_t size : {std::size_t{0}, std::size_t{30}, content->size() - 1}) {
            backend.set_files(good);
            backend.overwrite(
                {key.first, key.second},
                Bytes(content->begin(), content->begin() + static_cast<std::ptrdiff_t>(size)));
            EXPECT_GT(check(0).errors, 0u) << to_string(key.first) << " " << size;
        }
        if (key.first != FileType::pack && key.first != FileType::index) continue;
        MemoryBackend::Files less = good;
        less.erase(key);
        backend.set_files(less);
        EXPECT_GT(check(0).errors, 0u) << to_string(key.first);
    }
}

TEST_F(Checks, NameTheFilesThatDamageHits) {
    const Handle pack = pack_of(BlobType::data);
    Bytes content = must(backend.get(pack));
    content[20] ^= 1;
    backend.overwrite(pack, content);
    CheckResult result = check();
    auto names_file = [&] {
        return std::ranges::any_of(result.findings, [](const CheckFinding& finding) {
            return finding.severity == CheckFinding::Severity::error &&
                   finding.object.find("file /f in revision") != std::string::npos;
        });
    };
    EXPECT_TRUE(names_file()) << findings_of(result);
    must(backend.remove(pack));
    result = check(0);
    EXPECT_TRUE(names_file()) << findings_of(result);
}

TEST_F(Checks, NameTheTreeThatIsDamagedAndWhere) {
    const Handle pack = pack_of(BlobType::tree);
    Bytes content = must(backend.get(pack));
    content[20] ^= 1;
    backend.overwrite(pack, content);
    CheckResult result = check(0);
    ASSERT_EQ(result.errors, 1u) << findings_of(result);
    EXPECT_NE(result.findings[0].object.find("at / in revision"), std::string::npos);
}

TEST_F(Checks, FindContentThatWasNeverStored) {
    auto session = must(repository->start_write({}, {}));
    const BlobId missing = blob_id(text_blob(77));
    const BlobId tree = must(session->save(BlobType::tree, file_tree({missing}, 200))).id;
    must(session->commit(snapshot_of(tree)));
    CheckResult result = check(0);
    EXPECT_EQ(result.errors, 1u) << findings_of(result);
    EXPECT_NE(findings_of(result).find(missing.hex()), std::string::npos);
}

TEST_F(Checks, CompareTheSizeOfAFileWithItsContent) {
    std::uint64_t wrong = 0;
    for (std::uint64_t size :
         {std::uint64_t{0}, std::uint64_t{199}, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
        auto session = must(repository->start_write({}, {}));
        const BlobId blob = must(session->save(BlobType::data, text_blob(1))).id;
        const BlobId tree = must(session->save(BlobType::tree, file_tree({blob}, size))).id;
        must(session->commit(snapshot_of(tree)));
        CheckResult result = check(0);
        EXPECT_EQ(result.errors, ++wrong) << size << findings_of(result);
        EXPECT_NE(findings_of(result).find("200 bytes"), std::string::npos);
    }
}

TEST_F(Checks, HintAtNamesThatNoFileSystemTakes) {
    auto session = must(repository->start_write({}, {}));
    const Bytes plain = file_tree({}, 0);
    std::string json(as_text(plain));
    json.replace(json.find("\"f\""), 3, '"' + std::string(256, 'n') + '"');
    const BlobId tree = must(session->save(BlobType::tree, to_bytes(json))).id;
    must(session->commit(snapshot_of(tree)));
    CheckResult result = check(0);
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
    EXPECT_EQ(result.hints, 1u) << findings_of(result);
}

TEST_F(Checks, RefuseContentWithoutId) {
    auto session = must(repository->start_write({}, {}));
    must(session->commit(
        snapshot_of(must(session->save(BlobType::tree, file_tree({BlobId{}}, 0))).id)));
    EXPECT_EQ(check(0).errors, 1u);
}

TEST_F(Checks, TakeAnOrphanForAHint) {
    {
        auto session = must(repository->start_write({.pack_bytes = 4096}, {}));
        must(session->save(BlobType::data, noise_blob(5, 6000)));
        // The pack is stored, its index never.
        while (count(backend, FileType::pack) < 3) std::this_thread::yield();
    }
    CheckResult result = check();
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
    EXPECT_EQ(result.hints, 1u);
    EXPECT_EQ(result.orphan_packs, 1u);
    EXPECT_GT(result.orphan_bytes, 6000u);
}

TEST_F(Checks, ReadLargePacksInWindows) {
    auto session =
        must(repository->start_write({.pack_bytes = 40 << 20, .most_upload_bytes = 80 << 20}, {}));
    for (std::uint64_t i = 1; i <= 9; ++i)
        must(session->save(BlobType::data, noise_blob(i, 5 << 20)));
    must(session->checkpoint());
    CheckResult result = check();
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
    EXPECT_EQ(result.blobs_checked, 15u);

    for (const auto& [key, content] : backend.files()) {
        if (key.first != FileType::pack || content->size() < (24 << 20)) continue;
        Bytes damaged = *content;
        damaged.at(damaged.size() - 100) ^= 1;  // in the header
        damaged.at(10 << 20) ^= 1;
        backend.overwrite({key.first, key.second}, damaged);
        EXPECT_GT(check().errors, 0u);
        damaged.at(damaged.size() - 100) ^= 1;
        backend.overwrite({key.first, key.second}, damaged);
        EXPECT_EQ(check().errors, 2u);  // the blob, and the name of the pack
    }
}

TEST_F(Checks, StopOnRequest) {
    std::stop_source stop;
    stop.request_stop();
    Progress progress;
    auto result = check_repository(*repository, {.data_percent = 100}, progress, stop.get_token());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::cancelled);
}

class ResticChecks : public testing::TestWithParam<const char*> {};

TEST_P(ResticChecks, FindNoErrorInWhatResticWrote) {
    StillClock clock;
    MemoryBackend backend;
    backend.set_files(fixture_files(GetParam()));
    const std::string password =
        read_fixture_text(fixture(std::string("restic/") + GetParam() + "/password.txt"));
    auto repository = must(Repository::open(backend, as_bytes(password), {.clock = &clock}));
    Progress progress;
    CheckResult result = must(check_repository(*repository, {.data_percent = 100}, progress, {}));
    EXPECT_EQ(result.errors, 0u) << findings_of(result);
    EXPECT_GT(result.blobs_checked, 3u);
    EXPECT_GT(result.trees, 0u);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ResticChecks, testing::Values("v1", "v2", "v2-unusual"));

}  // namespace
}  // namespace backup
