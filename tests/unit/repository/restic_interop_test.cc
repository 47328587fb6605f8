// What we write, restic checks and restores. Skipped where restic is not installed.
#include <cstdlib>
#include <fstream>

#include "daemon/backend/local_backend.h"
#include "daemon/repository/checker.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/repository/engine_fixture.h"

namespace backup {
namespace {

TEST(ResticInterop, ChecksAndRestoresWhatWeWrote) {
    if (std::system("command -v restic >/dev/null 2>&1") != 0) GTEST_SKIP() << "no restic here";
    TempDirectory directory;
    const std::string root = directory.path() + "/repo";
    LocalBackend backend(must(Path::parse(root)));
    SystemClock clock;
    auto repository = make_repository(backend, clock);

    Bytes content;
    std::vector<BlobId> ids;
    {
        auto session = must(repository->start_write({.pack_bytes = 1 << 20}, {}));
        for (std::uint64_t i = 0; i < 200; ++i) {
            Bytes blob = i % 2 == 0 ? text_blob(static_cast<int>(i), 7 + i * 300)
                                    : noise_blob(i, 1 + i * 200);
            ids.push_back(must(session->save(BlobType::data, blob)).id);
            append(content, blob);
        }
        must(session->commit(
            snapshot_of(must(session->save(BlobType::tree, file_tree(ids, content.size()))).id)));
    }
    std::ofstream(directory.path() + "/password") << "quick";
    const std::string restic =
        "restic --no-cache -q -r " + root + " --password-file " + directory.path() + "/password ";
    EXPECT_EQ(std::system((restic + "check --read-data >/dev/null").c_str()), 0);
    EXPECT_EQ(
        std::system(
            (restic + "restore latest --target " + directory.path() + "/out >/dev/null").c_str()),
        0);
    EXPECT_EQ(read_fixture(directory.path() + "/out/f"), content);

    // restic locked, wrote and unlocked beside us; what it rewrote is still whole.
    EXPECT_EQ(std::system((restic + "tag --add kept latest >/dev/null").c_str()), 0);
    EXPECT_EQ(std::system((restic + "prune >/dev/null").c_str()), 0);
    must(repository->refresh_index({}));
    auto revisions = must(repository->list_revisions());
    ASSERT_EQ(revisions.size(), 1u);
    EXPECT_EQ(revisions[0].snapshot.tags, std::vector<std::string>{"kept"});
    Progress progress;
    CheckResult result = must(check_repository(*repository, {.data_percent = 100}, progress, {}));
    EXPECT_EQ(result.errors + result.hints, 0u);
    EXPECT_EQ(result.blobs_checked, ids.size() + 1);
}

}  // namespace
}  // namespace backup
