// Files that somebody may write to without an event, and whose stat alone proves nothing.
#include <algorithm>
#include <condition_variable>
#include <fstream>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/archive/data_sync.h"
#include "tests/unit/archive/archive_fixture.h"
#include "tests/unit/archive/marks.h"

namespace backup {

namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

// The machine's clock, ahead by what the test says.
class AheadClock final : public Clock {
  public:
    std::atomic<Duration> ahead{0ns};
    Timestamp now() const override { return SystemClock().now() + ahead.load(); }
    MonotonicTime monotonic() const override { return SystemClock().monotonic(); }
};

class HeldFileTest : public ArchiveTest {
  protected:
    HeldFileTest() {
        request_.clock = &ahead_;
        request_.unsettled = [this](const std::string& path) {
            std::lock_guard lock(mutex_);
            unsettled_.push_back(path.substr(source_.size() + 1));
        };
        ahead_.ahead = 10s;
    }
    // A second run that is told that "file" may be written, after its content was changed.
    BackupResult run_held(const std::string& changed = "changed") {
        put("file", "before");
        run();
        put("file", changed);
        return run_marked();
    }
    BackupResult run_marked() {
        unsettled_.clear();
        marks_.held("file");
        request_.look_at = &marks_;
        BackupResult result = run();
        request_.look_at = nullptr;
        std::ranges::sort(unsettled_);
        return result;
    }

    AheadClock ahead_;
    std::mutex mutex_;  // guards unsettled_
    Names unsettled_;
    Marks marks_{source_};
};

}  // namespace

TEST_F(HeldFileTest, PagesAreCleanedBetweenTwoStatsAndBeforeTheReading) {
    put("file", "before");
    run();
    put("file", "changed");
    Names order;
    auto note = [&](const char* what) {
        return [&order, what](std::string_view name, auto...) {
            if (name == "file") order.emplace_back(what);
            return 0;
        };
    };
    fs_.on_fstat = note("stat");
    fs_.on_read = note("read");
    fs_.on_sync = note("sync");
    run_marked();
    EXPECT_EQ(order, (Names{"stat", "sync", "stat", "read", "stat"}));
}

TEST_F(HeldFileTest, IsSettledWhenItsCtimeIsOld) {
    BackupResult second = run_held();
    EXPECT_EQ(content(*node(second, at("file"))), "changed");
    EXPECT_EQ(unsettled_, Names{});
    EXPECT_EQ(exception_texts(), Names{});
}

TEST_F(HeldFileTest, IsUsedButUnsettledWhileAWriteMayBeOnItsWay) {
    ahead_.ahead = 4s;
    BackupResult second = run_held();
    EXPECT_EQ(content(*node(second, at("file"))), "changed");
    EXPECT_EQ(unsettled_, Names{"file"});
    EXPECT_EQ(exception_texts(), Names{});
}

TEST_F(HeldFileTest, AClockThatWasSetBackProvesNothing) {
    ahead_.ahead = -24h;
    run_held();
    EXPECT_EQ(unsettled_, Names{"file"});
}

TEST_F(HeldFileTest, IsNeverSettledWherePagesAreNotCleaned) {
    for (long type : {long{TMPFS_MAGIC}, long{FUSE_SUPER_MAGIC}, long{OVERLAYFS_SUPER_MAGIC},
                      long{NFS_SUPER_MAGIC}, long{-EIO}}) {
        fs_.file_system = type;
        bool synced = false;
        fs_.on_sync = [&](std::string_view) { return synced = true, 0; };
        run_held("changed on " + std::to_string(type));
        EXPECT_EQ(unsettled_, Names{"file"});
        EXPECT_FALSE(synced);
    }
}

TEST_F(HeldFileTest, IsUnsettledWhenItsPagesCouldNotBeCleaned) {
    fs_.on_sync = [](std::string_view) { return -EIO; };
    BackupResult second = run_held();
    EXPECT_EQ(content(*node(second, at("file"))), "changed");
    EXPECT_EQ(unsettled_, Names{"file"});
}

TEST_F(HeldFileTest, IsUnsettledWhenItChangedWhileItsPagesWereCleaned) {
    fs_.on_sync = [&](std::string_view) { return put("file", "CHANGED"), 0; };
    BackupResult second = run_held();
    EXPECT_EQ(content(*node(second, at("file"))), "CHANGED");
    EXPECT_EQ(unsettled_, Names{"file"});
}

TEST_F(HeldFileTest, IsReadAlthoughItsStatIsThatOfTheParent) {
    put("file", "before");
    run();
    BackupResult second = run_marked();
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(second.counts.files_unmodified, 1u);
}

TEST_F(HeldFileTest, LargeFilesAreTreatedAlike) {
    int syncs = 0;
    fs_.on_sync = [&](std::string_view) { return ++syncs, 0; };
    run_held(random_text(900'000, 1));
    EXPECT_EQ(syncs, 1);
    EXPECT_EQ(unsettled_, Names{});
    ahead_.ahead = 1s;
    put("file", random_text(900'000, 2));
    run_marked();
    EXPECT_EQ(syncs, 2);
    EXPECT_EQ(unsettled_, Names{"file"});
}

TEST_F(HeldFileTest, OtherFilesAreNotSynced) {
    fs_.on_sync = [](std::string_view) { return ADD_FAILURE(), 0; };
    put("one", "1");
    put("large", random_text(900'000, 1));
    run();
    put("one", "changed");
    Marks marks{source_};
    marks.touch("one");
    request_.look_at = &marks;
    run();
    EXPECT_EQ(unsettled_, Names{});
}

TEST_F(HeldFileTest, FilesThatNeverSettleAreToldBesidesBeingExceptions) {
    put("small", "1");
    put("large", random_text(900'000, 1));
    int changes = 0;
    fs_.on_read = [&](std::string_view name, int number) {
        if (name == "file-that-rests" || number != 0) return 0;
        std::ofstream(at(std::string(name)), std::ios::app) << ++changes;
        return 0;
    };
    put("file-that-rests", "r");
    run();
    std::ranges::sort(unsettled_);
    EXPECT_EQ(unsettled_, (Names{"large", "small"}));
    EXPECT_EQ(exception_texts().size(), 2u);
}

TEST_F(HeldFileTest, AYoungStampOfWholeSecondsIsNotWaitedForAndUnsettled) {
    ahead_.ahead = 500ms;
    auto whole_seconds = [&](std::string_view name, struct statx& status) {
        if (name != "file") return;
        auto now = ahead_.now().time_since_epoch();
        status.stx_ctime.tv_sec = std::chrono::floor<std::chrono::seconds>(now).count();
        status.stx_ctime.tv_nsec = 0;
    };
    fs_.change_status = whole_seconds;
    put("file", "1");
    put("other", "2");
    int stats = 0;
    fs_.on_fstat = [&](std::string_view name, int) { return stats += name == "file", 0; };
    // The stamp of a whole second may become another one between the two stats.
    run();
    EXPECT_GE(stats, 2);
    ASSERT_FALSE(unsettled_.empty());
    EXPECT_EQ(std::ranges::count(unsettled_, "file"), std::ssize(unsettled_));
    // Old ones are settled.
    unsettled_.clear();
    request_.parent.reset();
    fs_.change_status = [&](std::string_view name, struct statx& status) {
        if (name == "file") status.stx_ctime = {1'700'000'000, 0, 0};
    };
    run();
    EXPECT_EQ(unsettled_, Names{});
}

TEST_F(HeldFileTest, AStoreIntoAMappedPageAfterTheReadingIsSeenByTheNextRun) {
    put("file", "before");
    struct statfs place;
    ASSERT_EQ(::statfs(source_.c_str(), &place), 0);
    if (place.f_type != EXT4_SUPER_MAGIC && place.f_type != XFS_SUPER_MAGIC &&
        place.f_type != BTRFS_SUPER_MAGIC)
        GTEST_SKIP() << "pages are not cleaned here";
    run();
    UniqueFd fd(::open(at("file").c_str(), O_RDWR | O_CLOEXEC));
    auto* map =
        static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
    ASSERT_NE(map, MAP_FAILED);
    map[0] = 'X';  // the page is dirty from here on
    run_marked();
    ::usleep(20'000);
    map[0] = 'Y';                // and would still be, had it not been cleaned
    BackupResult third = run();  // by metadata alone
    ::munmap(map, 4096);
    EXPECT_EQ(content(*node(third, at("file"))), "Yefore");
}

TEST_F(HeldFileTest, ARevisionWithAGapSaysSo) {
    put("file", "1");
    EXPECT_FALSE(parse_revision_tags(run().snapshot.tags).has_gap);
    request_.has_gap = true;
    Snapshot snapshot = run().snapshot;
    EXPECT_TRUE(parse_revision_tags(snapshot.tags).has_gap);
    EXPECT_EQ(std::ranges::count(snapshot.tags, "backupd:gap"), 1);
}

TEST(DataSync, GivesUpOnAFileSystemThatIsFrozenAndAsksNoMore) {
    class FrozenFs final : public RealFs {
      public:
        std::mutex mutex;  // guards both
        std::condition_variable thawed;
        bool is_frozen = true;
        int calls = 0;
        int sync_data(int) override {
            std::unique_lock lock(mutex);
            ++calls;
            thawed.notify_all();
            thawed.wait(lock, [this] { return !is_frozen; });
            is_frozen = true;
            thawed.notify_all();
            return 0;
        }
    } fs;
    TempDirectory folder;
    UniqueFd fd(::open(folder.path().c_str(), O_RDONLY | O_CLOEXEC));
    DataSync sync(fs, 100ms);
    EXPECT_FALSE(sync.sync(fd.get(), {}));
    EXPECT_FALSE(sync.sync(fd.get(), {}));
    std::unique_lock lock(fs.mutex);
    EXPECT_EQ(fs.calls, 1);
    fs.is_frozen = false;
    fs.thawed.notify_all();
    fs.thawed.wait(lock, [&] { return fs.is_frozen; });  // it has come back
}

TEST(DataSync, ObeysARequestToStop) {
    TempDirectory folder;
    UniqueFd fd(::open(folder.path().c_str(), O_RDONLY | O_CLOEXEC));
    DataSync sync(RealFs::instance());
    EXPECT_TRUE(sync.sync(fd.get(), {}));
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(sync.sync(fd.get(), stop.get_token()));
    EXPECT_TRUE(sync.sync(fd.get(), {}));
}

}  // namespace backup
