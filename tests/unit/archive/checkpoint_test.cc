// Interrupted runs: what they leave, what the next one finds again, and what it must not believe.
#include "daemon/archive/checkpoint.h"

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/unit/archive/archive_fixture.h"
#include "tests/unit/archive/marks.h"

namespace backup {
namespace {

class CheckpointTest : public ArchiveTest {
  protected:
    CheckpointTest() {
        request_.keep_checkpoint = [this](const Checkpoint& checkpoint) -> Result<> {
            std::lock_guard lock(mutex_);
            kept_.push_back(checkpoint);
            changed_.notify_all();
            return {};
        };
        request_.checkpoint_pace.bytes = std::uint64_t{1} << 40;  // only the last one
    }

    // The run is told to stop when it opens this file.
    Checkpoint cancelled_at(const std::string& name) {
        std::stop_source stop;
        fs_.on_open = [&stop, name](std::string_view opened) {
            if (opened == name) stop.request_stop();
            return 0;
        };
        auto result = try_run(stop.get_token());
        fs_.on_open = nullptr;
        EXPECT_FALSE(result.ok());
        EXPECT_EQ(result.error().kind(), ErrorKind::cancelled);
        EXPECT_EQ(kept_.size(), 1u) << "one checkpoint at the end";
        Checkpoint last = kept_.empty() ? Checkpoint() : kept_.back();
        kept_.clear();
        return last;
    }
    // The run is killed, as far as it can tell, when it reads this large file for the nth time and
    // a checkpoint was kept that `is_enough`.
    Checkpoint killed_at(const std::string& name, int read,
                         const std::function<bool(const Checkpoint&)>& is_enough) {
        request_.checkpoint_pace.bytes = 1;
        request_.write.pack_bytes = 1;  // each chunk in a pack of its own: none stays open
        Checkpoint last;
        fs_.on_read = [&](std::string_view opened, int number) {
            if (opened != name || number != read) return 0;
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [&] { return !kept_.empty() && is_enough(kept_.back()); });
            last = kept_.back();
            return -ENOMEM;
        };
        auto result = try_run();
        fs_.on_read = nullptr;
        EXPECT_FALSE(result.ok());
        kept_.clear();
        request_.checkpoint_pace.bytes = std::uint64_t{1} << 40;
        request_.write = WriteOptions();
        return last;
    }
    // The run is killed when all files but a large one are in a checkpoint.
    Checkpoint killed_with(std::uint64_t files) {
        put("z", random_text(1'200'000, 9));
        return killed_at("z", 2,
                         [&](const Checkpoint& checkpoint) { return checkpoint.files == files; });
    }
    BackupResult resume(const Checkpoint& checkpoint) {
        request_.resumed = checkpoint;
        fs_.forget_touched();
        BackupResult result = run();
        request_.resumed.reset();
        return result;
    }
    // A run that believes nobody gives the same tree.
    void expect_exact(const BackupResult& result) {
        request_.full = true;
        auto again = run();
        request_.full = false;
        EXPECT_EQ(tree_of_source(again), tree_of_source(result));
    }
    static std::string number(int i) { return "f" + std::to_string(1000 + i); }
    void put_files(const std::string& directory, int count) {
        for (int i = 0; i < count; ++i)
            put(directory + "/" + number(i), random_text(2000, unsigned(i)));
    }

    std::mutex mutex_;  // guards kept_
    std::condition_variable changed_;
    std::vector<Checkpoint> kept_;
};

TEST_F(CheckpointTest, AFileThatWasReadIsNotReadAgain) {
    put_files("a", 100);
    put_files("b/c", 100);
    const Checkpoint left = cancelled_at(number(60));
    EXPECT_GT(left.files, 0u);
    EXPECT_EQ(left.bytes, left.files * 2000);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, left.files);
    EXPECT_EQ(result.counts.bytes_resumed, left.bytes);
    EXPECT_EQ(result.counts.files_read, 200 - left.files);
    EXPECT_EQ(result.counts.bytes_read, (200 - left.files) * 2000);
    EXPECT_EQ(result.counts.files_new, 200u) << "there is no parent, so everything is new";
    EXPECT_EQ(result.snapshot.parent, std::nullopt);
    EXPECT_EQ(result.counts.total_bytes, 200u * 2000);
    expect_exact(result);
}

TEST_F(CheckpointTest, NoSnapshotIsLeftBehind) {
    put_files("a", 50);
    const Checkpoint left = cancelled_at(number(20));
    EXPECT_TRUE(repository_->list_revisions().value().empty());
    EXPECT_FALSE(left.tree.is_null());
}

TEST_F(CheckpointTest, AWholeDirectoryOfManyBatchesIsFoundAgain) {
    put_files("wide", 3000);
    const Checkpoint left = killed_with(3000);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 3000u);
    EXPECT_EQ(result.counts.files_read, 1u);
    expect_exact(result);
}

TEST_F(CheckpointTest, PartOfAWideDirectoryIsFoundAgain) {
    put_files("wide", 5000);
    const Checkpoint left = cancelled_at(number(3000));
    EXPECT_GT(left.files, 0u);
    EXPECT_LT(left.files, 5000u);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, left.files);
    EXPECT_EQ(result.counts.files_read, 5000 - left.files);
    expect_exact(result);
}

TEST_F(CheckpointTest, WhatChangedSinceIsReadAgain) {
    put_files("a", 40);
    const Checkpoint left = killed_with(40);
    put("a/" + number(7), random_text(2000, 777));  // the same size
    std::filesystem::remove(at("a/" + number(8)));
    put("a/" + number(9), "shorter");
    ::chmod(at("a/" + number(10)).c_str(), 0600);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 36u)
        << "not the three, nor the one that moved its ctime";
    EXPECT_EQ(content(*node(result, at("a/" + number(7)))), random_text(2000, 777));
    EXPECT_EQ(node(result, at("a/" + number(8))), std::nullopt);
    expect_exact(result);
}

TEST_F(CheckpointTest, AnotherFileUnderTheNameIsRead) {
    put("a/one", random_text(2000, 1));
    const Checkpoint left = killed_with(1);
    put("other", random_text(2000, 2));
    struct stat was;
    ASSERT_EQ(::stat(at("a/one").c_str(), &was), 0);
    ASSERT_EQ(::rename(at("other").c_str(), at("a/one").c_str()), 0);
    const timespec times[2] = {was.st_mtim, was.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, at("a/one").c_str(), times, 0), 0);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 0u);
    EXPECT_EQ(content(*node(result, at("a/one"))), random_text(2000, 2));
}

TEST_F(CheckpointTest, AFileThatNeverCameToRestIsReadAgain) {
    put("a/calm", random_text(2000, 1));
    put("a/restless", random_text(2000, 2));
    fs_.on_fstat = [this](std::string_view name, int count) {
        if (name == "restless" && count > 0) {
            const timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
            ::utimensat(AT_FDCWD, at("a/restless").c_str(), times, 0);
        }
        return 0;
    };
    const Checkpoint left = killed_with(2);
    fs_.on_fstat = nullptr;
    EXPECT_EQ(left.unsettled, std::vector<std::string>{at("a/restless")});
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 1u);
    EXPECT_EQ(result.counts.files_read, 2u);
    EXPECT_TRUE(exception_texts().empty());
}

TEST_F(CheckpointTest, WhatTheRepositoryHasNotIsReadAgain) {
    put_files("a", 10);
    const Checkpoint left = killed_with(10);
    // Another repository, as after a restore of an old state.
    MemoryBackend empty;
    repository_ = std::move(*Repository::init(empty, as_bytes("secret"), {.clock = &clock_},
                                              KeyCost{.n = 16, .r = 1, .p = 1}));
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 0u);
    EXPECT_EQ(result.counts.files_read, 11u);
    EXPECT_TRUE(exception_texts().empty());
    repository_.reset();
}

TEST_F(CheckpointTest, KilledRunIsTakenUpAtItsLastCheckpoint) {
    put_files("a", 100);
    const Checkpoint left = killed_with(100);
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 100u);
    EXPECT_EQ(result.counts.files_read, 1u);
    expect_exact(result);
}

TEST_F(CheckpointTest, ALargeFileIsTakenUpInTheMiddle) {
    const std::string text = random_text(24'000'000, 5);
    put("big", text);
    put("other", random_text(900'000, 6));
    const Checkpoint left = killed_at("big", 80, [](const Checkpoint& checkpoint) {
        return std::ranges::any_of(checkpoint.half,
                                   [](const HalfFile& half) { return half.bytes > 8'000'000; });
    });
    ASSERT_EQ(left.half.size(), 1u);
    const std::uint64_t before = left.half.front().bytes;
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.bytes_resumed, before + 900'000);
    EXPECT_EQ(result.counts.bytes_read, text.size() - before);
    EXPECT_EQ(content(*node(result, at("big"))), text);
    expect_exact(result);
}

TEST_F(CheckpointTest, ALargeFileThatChangedIsReadFromItsBegin) {
    put("big", random_text(12'000'000, 5));
    const Checkpoint left =
        killed_at("big", 40, [](const Checkpoint& checkpoint) { return !checkpoint.half.empty(); });
    put("big", random_text(12'000'000, 6));
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.bytes_resumed, 0u);
    EXPECT_EQ(content(*node(result, at("big"))), random_text(12'000'000, 6));
}

TEST_F(CheckpointTest, ExtendedAttributesAreReadAnew) {
    put("a/one", random_text(2000, 1));
    if (::setxattr(at("a/one").c_str(), "user.color", "red", 3, 0) != 0)
        GTEST_SKIP() << "no extended attributes here";
    const BackupResult result = resume(killed_with(1));
    ASSERT_EQ(result.counts.files_resumed, 1u);
    EXPECT_EQ(node(result, at("a/one"))->extended_attributes.size(), 1u);
    expect_exact(result);
}

TEST_F(CheckpointTest, ItServesARunThatFollowsChanges) {
    put_files("a", 20);
    run();
    request_.parent->snapshot.time -= std::chrono::hours(1);
    for (int i = 5; i < 15; ++i) put("a/" + number(i), random_text(2500, unsigned(i)));
    put("a/zz", random_text(600'000, 9));
    Marks marks(source_);
    for (int i = 5; i < 15; ++i) marks.touch("a/" + number(i));
    marks.touch("a/zz");
    request_.look_at = &marks;
    const Checkpoint left = cancelled_at("zz");
    EXPECT_EQ(left.files, 10u);
    Marks next(source_);
    for (int i = 5; i < 15; ++i) next.touch("a/" + number(i));
    next.touch("a/zz");
    next.held("a/" + number(6));  // must be read, whatever its stat says
    request_.look_at = &next;
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 9u);
    EXPECT_EQ(result.counts.files_read, 2u);
    EXPECT_EQ(result.counts.files_changed, 10u);
    EXPECT_EQ(result.counts.total_files, 21u);
    request_.look_at = nullptr;
    expect_exact(result);
}

TEST_F(CheckpointTest, AFullRunTakesNothingUp) {
    put_files("a", 20);
    const Checkpoint left = killed_with(20);
    request_.full = true;
    const BackupResult result = resume(left);
    EXPECT_EQ(result.counts.files_resumed, 0u);
    EXPECT_EQ(result.counts.files_read, 21u);
}

TEST_F(CheckpointTest, ARunThatReadNothingLeavesNone) {
    put_files("a", 5);
    run();
    kept_.clear();
    std::stop_source stop;
    fs_.on_list = [&](std::string_view name) {
        if (name == "a") stop.request_stop();
        return 0;
    };
    EXPECT_FALSE(try_run(stop.get_token()).ok());
    EXPECT_TRUE(kept_.empty());
}

TEST_F(CheckpointTest, AStorageThatFailsCostsOnlyTheCheckpoint) {
    put_files("a", 30);
    put("z", random_text(1'200'000, 9));
    request_.checkpoint_pace.bytes = 1;
    bool was_asked = false;
    request_.keep_checkpoint = [&](const Checkpoint&) -> Result<> {
        std::lock_guard lock(mutex_);
        was_asked = true;
        changed_.notify_all();
        return Error(ErrorKind::no_space, "no room for a record");
    };
    fs_.on_read = [&](std::string_view name, int count) {
        std::unique_lock lock(mutex_);
        if (name == "z" && count == 2) changed_.wait(lock, [&] { return was_asked; });
        return 0;
    };
    const BackupResult result = run();
    EXPECT_EQ(result.counts.total_files, 31u);
}

}  // namespace
}  // namespace backup
