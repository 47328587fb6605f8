#include "daemon/ipc/explanation.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "common/log.h"
#include "daemon/archive/backup.h"
#include "daemon/backend/memory_backend.h"
#include "daemon/jobs/catalog.h"
#include "daemon/runtime/durable_file.h"
#include "tests/support/memory_state.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/ipc/fake_tracker.h"

namespace backup {
namespace {

namespace fs = std::filesystem;

class ExplanationTest : public ::testing::Test {
  protected:
    ExplanationTest()
        : pool(
              clock, state, {folder.path(), ""}, [](const std::string&) {},
              [this](const std::string& url) -> Result<OpenedBackend> {
                  if (url == "gone:")
                      return Error(ErrorKind::transient, ErrorCode::repository_unavailable,
                                   "no route");
                  auto backend = std::make_unique<MemoryBackend>();
                  backend->set_files(files);
                  return OpenedBackend{std::move(backend), nullptr};
              }) {
        set_log_level(LogLevel::error);
        MemoryBackend made;
        EXPECT_TRUE(
            Repository::init(made, as_bytes("right"), {.clock = &clock}, {1024, 8, 1}).ok());
        files = made.files();
        for (const char* name : {"main", "far"})
            EXPECT_TRUE(write_file_durably(folder.path() + "/secrets/" + name, "right", 0600).ok());
        pool.set_policies({{"main", {.name = "main", .url = "memory:"}},
                           {"far", {.name = "far", .url = "gone:"}}});
        set.id = "home";
        set.repository = "main";
        set.hostname = "here";
        set.paths = {Path::parse(source()).value()};
        fs::create_directories(source() + "/d");
        put("kept", "one");
        put("d/deep", "two");
        tracker.now.state = TrackingState::live;
        tracker.now.watching = "fanotify";
    }
    std::string source() const { return folder.path() + "/src"; }
    void put(const std::string& name, const std::string& content) {
        std::ofstream(source() + "/" + name) << content;
    }
    void back_up() {
        auto opened = pool.open("main");
        ASSERT_TRUE(opened.ok());
        Progress progress;
        ExceptionLog exceptions(progress);
        BackupRequest request;
        request.set = &set;
        request.hostname = "here";
        request.number = 7;
        request.clock = &clock;
        request.threads = 1;
        auto made = run_backup(request, *(*opened)->repository, progress, exceptions, {});
        ASSERT_TRUE(made.ok()) << made.error().message();
    }
    Explanation ask(const std::string& path, bool tracked = true) {
        auto policy = std::make_shared<Policy>();
        policy->sets["home"] = set;
        ExplainTask task;
        task.policy = policy;
        task.pool = &pool;
        task.tracker = tracked ? &tracker : nullptr;
        return explain(task, Path::parse(path).value());
    }
    Explanation ask_below(const std::string& name, bool tracked = true) {
        return ask(source() + "/" + name, tracked);
    }
    static std::string state_of(const Explanation& explanation) {
        return to_string(explanation.state);
    }

    TempDirectory folder;
    TestClock clock;
    MemoryState state;
    MemoryBackend::Files files;
    RepositoryPool pool;
    BackupSet set;
    FakeTracker tracker;
};

TEST_F(ExplanationTest, WhatTheNewestRevisionHasAsItIsIsProtected) {
    back_up();
    const Explanation found = ask_below("kept");
    EXPECT_EQ(state_of(found), "protected");
    ASSERT_EQ(found.sets.size(), 1u);
    ASSERT_TRUE(found.sets[0].version);
    EXPECT_EQ(found.sets[0].version->number, 7u);
    EXPECT_EQ(found.sets[0].version->size, 3u);
    EXPECT_TRUE(found.sets[0].blocked_by.empty());
    EXPECT_EQ(state_of(ask_below("d")), "protected");
}

TEST_F(ExplanationTest, ATrackerThatKnowsNothingDoesNotHideAChange) {
    back_up();
    put("kept", "another length");
    put("new", "x");
    fs::remove(source() + "/d/deep");
    for (bool tracked : {true, false}) {
        const Explanation changed = ask_below("kept", tracked);
        EXPECT_EQ(state_of(changed), "pending");
        EXPECT_EQ(changed.sets[0].pending->kind, "modified");
        EXPECT_EQ(ask_below("new", tracked).sets[0].pending->kind, "created");
        const Explanation gone = ask_below("d/deep", tracked);
        EXPECT_EQ(gone.sets[0].pending->kind, "deleted");
        EXPECT_TRUE(gone.sets[0].version);
        EXPECT_FALSE(gone.exists);
    }
}

TEST_F(ExplanationTest, AChangeOfPermissionsAloneWaits) {
    back_up();
    fs::permissions(source() + "/kept", fs::perms::owner_read);
    const Explanation found = ask_below("kept");
    EXPECT_EQ(state_of(found), "pending");
    EXPECT_EQ(found.sets[0].pending->kind, "metadata");
}

TEST_F(ExplanationTest, WhatTheTrackerSaysIsToldAndItsGuessOfTheKindIsCorrected) {
    back_up();
    tracker.entries = {{source() + "/kept", "created", clock.now(), 3, true}};
    tracker.now.pending = 1;
    const Explanation found = ask_below("kept");
    EXPECT_EQ(state_of(found), "pending");
    EXPECT_EQ(found.sets[0].pending->kind, "modified") << "the revision has it";
    EXPECT_EQ(found.sets[0].blocked_by, std::vector<std::string>{"held"});
    const Explanation above = ask(source());
    EXPECT_EQ(state_of(above), "pending");
    EXPECT_EQ(above.sets[0].pending_below, 1u);
    EXPECT_EQ(ask_below("d").sets[0].pending_below, 0u);
}

TEST_F(ExplanationTest, OfADirectoryThatNobodyWatchesNothingIsClaimed) {
    back_up();
    EXPECT_EQ(state_of(ask_below("d", false)), "unknown");
    tracker.now.state = TrackingState::degraded;
    const Explanation degraded = ask_below("d");
    EXPECT_EQ(state_of(degraded), "unknown");
    EXPECT_EQ(degraded.sets[0].blocked_by, std::vector<std::string>{"tracking-degraded"});
}

TEST_F(ExplanationTest, WithoutARevisionEverythingWaits) {
    const Explanation found = ask_below("kept");
    EXPECT_EQ(state_of(found), "pending");
    EXPECT_FALSE(found.sets[0].version);
    EXPECT_EQ(found.sets[0].version_problem, "");
}

TEST_F(ExplanationTest, ARepositoryThatCannotBeReachedMakesItUnknown) {
    set.repository = "far";
    const Explanation found = ask_below("kept");
    EXPECT_EQ(state_of(found), "unknown");
    EXPECT_NE(found.sets[0].version_problem.find("no route"), std::string::npos);
    tracker.entries = {{source() + "/kept", "modified", clock.now(), 3, false}};
    EXPECT_EQ(state_of(ask_below("kept")), "pending") << "that much the tracker knows";
}

TEST_F(ExplanationTest, RulesOutsideAndMissingAreTold) {
    back_up();
    set.exclude.patterns = {"*.o"};
    set.exclude.origins = {"f:3"};
    put("x.o", "x");
    const Explanation excluded = ask_below("x.o");
    EXPECT_EQ(state_of(excluded), "excluded");
    EXPECT_EQ(excluded.sets[0].place.excluded->origin, "f:3");
    put("d/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n");
    EXPECT_EQ(ask_below("d/deep").sets[0].place.excluded->rule, "cachedir-tag");
    EXPECT_EQ(state_of(ask(folder.path())), "outside");
    EXPECT_EQ(state_of(ask(folder.path() + "/none")), "missing");
    EXPECT_EQ(state_of(ask_below("none")), "missing");
}

TEST_F(ExplanationTest, WhatIsOnAFileSystemThatIsAwayIsNotDeleted) {
    back_up();
    fs::remove_all(source() + "/d");
    EXPECT_EQ(state_of(ask_below("d/deep")), "pending");
    tracker.now.state = TrackingState::degraded;
    tracker.now.volumes = {{.place = source() + "/d", .state = "away"}};
    const Explanation found = ask_below("d/deep");
    EXPECT_EQ(state_of(found), "protected");
    EXPECT_FALSE(found.sets[0].pending);
    EXPECT_EQ(state_of(ask_below("d/never")), "unknown");
    EXPECT_EQ(state_of(ask_below("kept")), "protected");
}

TEST_F(ExplanationTest, WhatStandsInTheWayIsNamed) {
    back_up();
    set.enabled = false;
    EXPECT_EQ(ask_below("kept", false).sets[0].blocked_by,
              (std::vector<std::string>{"disabled", "tracking-off"}));
    set.enabled = true;
    set.automatic = false;
    EXPECT_EQ(ask_below("kept").sets[0].blocked_by, std::vector<std::string>{"by-hand"});
    set.interval_seconds = 60;
    EXPECT_TRUE(ask_below("kept").sets[0].blocked_by.empty());
}

}  // namespace
}  // namespace backup
