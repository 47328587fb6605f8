#include "daemon/jobs/repository_pool.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "common/log.h"
#include "daemon/backend/memory_backend.h"
#include "daemon/runtime/durable_file.h"
#include "tests/support/memory_state.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

constexpr KeyCost kQuickKey{1024, 8, 1};

class RepositoryPoolTest : public ::testing::Test {
  protected:
    RepositoryPoolTest()
        : pool(
              clock, state, {folder.path(), ""}, [this](const std::string&) { ++changes; },
              [this](const std::string& url) -> Result<OpenedBackend> {
                  ++opened;
                  if (url == "gone:")
                      return Error(ErrorKind::transient, ErrorCode::repository_unavailable,
                                   "no route");
                  auto backend = std::make_unique<MemoryBackend>();
                  backend->set_files(files);
                  return OpenedBackend{std::move(backend), nullptr};
              }) {
        set_log_level(LogLevel::error);
        MemoryBackend made;
        auto repository = Repository::init(made, as_bytes("right"), {.clock = &clock}, kQuickKey);
        EXPECT_TRUE(repository.ok());
        files = made.files();
        pool.set_policies({{"main", {.name = "main", .url = "memory:"}},
                           {"far", {.name = "far", .url = "gone:"}}});
    }
    void keep_password(const std::string& text) {
        ASSERT_TRUE(write_file_durably(folder.path() + "/secrets/main", text, 0600).ok());
    }

    TempDirectory folder;
    TestClock clock;
    MemoryState state;
    MemoryBackend::Files files;
    std::atomic<int> opened{0}, changes{0};
    RepositoryPool pool;
};

TEST_F(RepositoryPoolTest, OpensOnceAndKeepsItOpen) {
    keep_password("right\n");
    EXPECT_EQ(pool.status("main").state, RepositoryState::unopened);
    auto first = pool.open("main");
    auto second = pool.open("main");
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_EQ(*first, *second);
    EXPECT_EQ(opened, 1);
    EXPECT_EQ(pool.status("main").state, RepositoryState::ready);
    EXPECT_EQ(pool.status("main").keys, 1u);
}

TEST_F(RepositoryPoolTest, CallersAtTheSameTimeShareOneOpening) {
    keep_password("right\n");
    std::vector<std::jthread> callers;
    for (int i = 0; i < 4; ++i)
        callers.emplace_back([this] { EXPECT_TRUE(pool.open("main").ok()); });
    callers.clear();
    EXPECT_EQ(opened, 1);
}

TEST_F(RepositoryPoolTest, RemembersTheKeyThatFitted) {
    keep_password("right\n");
    auto handle = pool.open("main");
    ASSERT_TRUE(handle.ok());
    auto keys = (*handle)->repository->list_keys();
    EXPECT_EQ(state.repository_record("main")->key_hint, keys->front().id.hex());
    EXPECT_EQ(state.repository_record("main")->repository_id, (*handle)->repository->config().id);
}

TEST_F(RepositoryPoolTest, WithoutAPasswordItIsLockedUntilUnlocked) {
    auto refused = pool.open("main");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::wrong_password);
    EXPECT_EQ(pool.status("main").state, RepositoryState::locked);
    EXPECT_FALSE(pool.unlock("main", Secret(to_bytes(std::string_view("wrong")))).ok());
    EXPECT_EQ(pool.status("main").state, RepositoryState::locked);
    EXPECT_TRUE(pool.unlock("main", Secret(to_bytes(std::string_view("right")))).ok());
    EXPECT_EQ(pool.status("main").state, RepositoryState::ready);
    EXPECT_TRUE(pool.open("main").ok());
    // A wrong one does not pass for right because the repository is open already.
    EXPECT_FALSE(pool.unlock("main", Secret(to_bytes(std::string_view("wrong")))).ok());
    EXPECT_EQ(pool.status("main").state, RepositoryState::ready);
    EXPECT_GT(changes, 0);
}

TEST_F(RepositoryPoolTest, StatesSayWhatIsWrong) {
    keep_password("wrong\n");
    EXPECT_EQ(pool.open("main").error().code(), ErrorCode::wrong_password);
    EXPECT_EQ(pool.status("main").state, RepositoryState::locked);
    ASSERT_TRUE(write_file_durably(folder.path() + "/secrets/far", "x", 0600).ok());
    EXPECT_EQ(pool.open("far").error().code(), ErrorCode::repository_unavailable);
    EXPECT_EQ(pool.status("far").state, RepositoryState::unavailable);
    EXPECT_EQ(pool.open("none").error().code(), ErrorCode::no_such_repository);
}

TEST_F(RepositoryPoolTest, ARepositoryOutlivesItsPolicyWhileItIsUsed) {
    keep_password("right\n");
    auto handle = *pool.open("main");
    pool.set_policies({});
    EXPECT_FALSE(pool.open("main").ok());
    EXPECT_TRUE(handle->repository->list_keys().ok());
}

TEST_F(RepositoryPoolTest, UnchangedPoliciesKeepTheirOpenRepositories) {
    keep_password("right\n");
    auto before = *pool.open("main");
    pool.set_policies({{"main", {.name = "main", .url = "memory:"}}});
    EXPECT_EQ(*pool.open("main"), before);
    pool.set_policies({{"main", {.name = "main", .url = "memory:other"}}});
    EXPECT_NE(*pool.open("main"), before);
}

TEST_F(RepositoryPoolTest, AnAdoptedRepositoryIsReadyAsSoonAsThePolicyNamesIt) {
    Secret secret(to_bytes(std::string_view("right")));
    auto handle = *pool.open_at({.name = "new", .url = "memory:"}, secret);
    pool.adopt(handle);
    pool.set_policies({{"new", {.name = "new", .url = "memory:"}}});
    EXPECT_EQ(pool.status("new").state, RepositoryState::ready);
    EXPECT_EQ(*pool.open("new"), handle);
}

TEST(LocalDirectory, IsKnownFromTheUrl) {
    EXPECT_EQ(local_directory("/a/b"), "/a/b");
    EXPECT_EQ(local_directory("local:/a/b"), "/a/b");
    EXPECT_EQ(local_directory("file:///a/b"), "/a/b");
    EXPECT_FALSE(local_directory("rest:http://x/").has_value());
}

}  // namespace
}  // namespace backup
