// Sources that change, vanish and fail while they are read, and repositories that fail.
#include <atomic>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/archive/backup.h"
#include "daemon/archive/source_reader.h"
#include "daemon/repository/chunker.h"
#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

class MovingSourceTest : public ArchiveTest {};

class StoppedClock final : public Clock {
  public:
    explicit StoppedClock(Timestamp now) : now_(now) {}
    Timestamp now() const override { return now_; }
    MonotonicTime monotonic() const override { return {}; }

  private:
    const Timestamp now_;
};

}  // namespace

TEST_F(MovingSourceTest, UnreadableFilesAreLeftOutAndNamed) {
    put("good", "1");
    put("bad", "2");
    put("worse", "3");
    fs_.on_open = [](std::string_view name) { return name == "bad" ? -EACCES : 0; };
    fs_.on_read = [](std::string_view name, int) { return name == "worse" ? -EIO : 0; };
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), Names{"good"});
    EXPECT_EQ(exception_texts(),
              (Names{"/bad: open: Permission denied", "/worse: read: Input/output error"}));
    EXPECT_EQ(parse_revision_tags(result.snapshot.tags).exceptions, 2u);
}

TEST_F(MovingSourceTest, DirectoriesThatCannotBeListedAreLeftOutAndNamed) {
    put("good/file", "1");
    put("bad/file", "2");
    put("half/file", "3");
    fs_.on_open = [](std::string_view name) { return name == "bad" ? -EACCES : 0; };
    fs_.on_list = [](std::string_view name) { return name == "half" ? -EIO : 0; };
    EXPECT_EQ(names(run(), source_), Names{"good"});
    EXPECT_EQ(exception_texts(),
              (Names{"/bad: open: Permission denied", "/half: list: Input/output error"}));
}

TEST_F(MovingSourceTest, WhatVanishesWhileBeingLookedAtIsNotMissed) {
    put("stays", "1");
    put("file", "2");
    put("large", random_text(1'000'000, 1));
    put("folder/inside", "3");
    fs_.on_open = [&](std::string_view name) {
        if (name == "file" || name == "large" || name == "folder")
            std::filesystem::remove_all(at(std::string(name)));
        return 0;
    };
    EXPECT_EQ(names(run(), source_), Names{"stays"});
    EXPECT_EQ(exceptions_->count(), 0u);
}

TEST_F(MovingSourceTest, AFileThatSettlesIsStoredAsItIsInTheEnd) {
    put("file", "first");
    std::atomic<int> changes{0};
    fs_.on_read = [&](std::string_view name, int number) {
        if (name == "file" && number == 0 && changes++ < 2)
            put("file", "change " + std::to_string(changes));
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(content(*node(result, at("file"))), "change 2");
    EXPECT_EQ(exceptions_->count(), 0u);
    fs_.on_read = nullptr;
    EXPECT_EQ(run().counts.files_read, 0u);
}

TEST_F(MovingSourceTest, AFileThatNeverSettlesIsStoredAndNamed) {
    put("file", "first");
    std::atomic<int> readings{0};
    fs_.on_read = [&](std::string_view name, int number) {
        if (name == "file" && number == 0) put("file", "change " + std::to_string(++readings));
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(readings.load(), SourceReader::kMostReadings);
    EXPECT_TRUE(content(*node(result, at("file"))).starts_with("change "));
    EXPECT_EQ(exception_texts(), Names{"/file: changed while being read"});
    // Its stat is from before the reading: the next run reads it again.
    fs_.on_read = nullptr;
    EXPECT_EQ(run().counts.files_read, 1u);
}

TEST_F(MovingSourceTest, ALargeFileThatNeverSettlesIsStoredAndNamed) {
    put("large", random_text(2'000'000, 1));
    std::atomic<int> readings{0};
    fs_.on_read = [&](std::string_view name, int number) {
        if (name != "large" || number != 1) return 0;
        UniqueFd fd(::open(at("large").c_str(), O_WRONLY));
        char mark = static_cast<char>(++readings);
        EXPECT_EQ(::pwrite(fd.get(), &mark, 1, 0), 1);
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(readings.load(), SourceReader::kMostReadings);
    EXPECT_EQ(content(*node(result, at("large"))).size(), 2'000'000u);
    EXPECT_EQ(exception_texts(), Names{"/large: changed while being read"});
    fs_.on_read = nullptr;
    EXPECT_EQ(run().counts.files_read, 1u);
}

TEST_F(MovingSourceTest, AFileThatShrinksOrGrowsIsReadAgain) {
    put("shrinks", std::string(1000, 's'));
    put("grows", "g");
    put("outgrows", "o");
    const std::string large = random_text(1'200'000, 1);
    std::atomic<int> done{0};
    fs_.on_read = [&](std::string_view name, int) {
        if (name == "shrinks" && (done & 1) == 0) done |= 1, put("shrinks", "s");
        if (name == "grows" && (done & 2) == 0) done |= 2, put("grows", "grown");
        if (name == "outgrows" && (done & 4) == 0) done |= 4, put("outgrows", large);
        return 0;
    };
    request_.threads = 1;
    BackupResult result = run();
    EXPECT_EQ(content(*node(result, at("shrinks"))), "s");
    EXPECT_EQ(content(*node(result, at("grows"))), "grown");
    EXPECT_EQ(content(*node(result, at("outgrows"))), large);
    EXPECT_EQ(exceptions_->count(), 0u);
}

// A file that was written just now is waited for, and its size is not what it was before.
TEST_F(MovingSourceTest, AFileThatOutgrowsTheBufferWhileItSettlesIsReadInPieces) {
    put("file", "small");
    put("flat", "small");
    struct stat status {};
    ASSERT_EQ(::stat(at("flat").c_str(), &status), 0);
    StoppedClock clock(Timestamp(std::chrono::seconds(status.st_ctim.tv_sec) +
                                 std::chrono::nanoseconds(status.st_ctim.tv_nsec)));
    request_.clock = &clock;
    const std::string large = random_text(1'200'000, 1);
    std::atomic<int> grown{0};
    fs_.on_fstat = [&](std::string_view name, int number) {
        if (name == "file" && number == 1 && grown.fetch_or(1) % 2 == 0) put("file", large);
        if (name == "flat" && number == 1 && grown.fetch_or(2) / 2 == 0) {
            EXPECT_EQ(::truncate(at("flat").c_str(), 1'200'000), 0);
        }
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(grown.load(), 3);
    EXPECT_EQ(content(*node(result, at("file"))), large);
    EXPECT_EQ(content(*node(result, at("flat"))).size(), 1'200'000u);
    EXPECT_EQ(exceptions_->count(), 0u);
    EXPECT_LE(fs_.longest_read(), kMinChunk + 1);
}

TEST_F(MovingSourceTest, AFileReplacedByALinkIsNotFollowed) {
    put("swap", "harmless");
    std::atomic<bool> swapped{false};
    fs_.on_open = [&](std::string_view name) {
        if (name == "swap" && !swapped.exchange(true)) {
            std::filesystem::remove(at("swap"));
            EXPECT_EQ(::symlink("/etc/passwd", at("swap").c_str()), 0);
        }
        return 0;
    };
    BackupResult result = run();
    EXPECT_EQ(node(result, at("swap"))->type, NodeType::symlink);
    EXPECT_EQ(result.counts.files_read, 0u);
}

TEST_F(MovingSourceTest, ADirectoryReplacedByALinkIsNotFollowed) {
    put("swap/file", "harmless");
    fs_.on_open = [&](std::string_view name) {
        if (name == "swap" && std::filesystem::is_directory(at("swap"))) {
            std::filesystem::remove_all(at("swap"));
            EXPECT_EQ(::symlink("/etc", at("swap").c_str()), 0);
        }
        return 0;
    };
    EXPECT_TRUE(names(run(), source_).empty());
    EXPECT_EQ(exception_texts(), Names{"/swap: replaced while being read"});
}

TEST_F(MovingSourceTest, ADirectoryReplacedByAnotherIsNotTakenForIt) {
    put("swap/file", "1");
    put("other/secret", "2");
    fs_.on_open = [&](std::string_view name) {
        if (name == "swap" && std::filesystem::exists(at("swap/file"))) {
            std::filesystem::remove_all(at("swap"));
            std::filesystem::rename(at("other"), at("swap"));
        }
        return 0;
    };
    request_.threads = 1;
    EXPECT_EQ(names(run(), at("swap")), Names{});
    EXPECT_FALSE(exception_texts().empty());
}

TEST_F(MovingSourceTest, FreshChangesAreReadOnlyOnceTheClockHasMovedOn) {
    put("file", "x");
    RealFs real;
    UniqueFd fd(real.open(AT_FDCWD, at("file").c_str(), O_RDONLY));
    struct statx status;
    ASSERT_EQ(real.status(fd.get(), "", AT_EMPTY_PATH, status), 0);
    SourceReader reader(real, clock_, false, {});
    bool is_settled = false;
    ASSERT_EQ(reader.prepare(fd.get(), false, status, is_settled), 0);
    EXPECT_TRUE(is_settled);
    Timestamp changed{std::chrono::seconds(status.stx_ctime.tv_sec) +
                      std::chrono::nanoseconds(status.stx_ctime.tv_nsec)};
    EXPECT_GE(clock_.now() - changed, std::chrono::milliseconds(20));
}

TEST_F(MovingSourceTest, RunningOutOfDescriptorsEndsTheRunInsteadOfLosingFiles) {
    put("file", "x");
    fs_.on_open = [](std::string_view name) { return name == "file" ? -EMFILE : 0; };
    auto result = try_run();
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().os_error(), EMFILE);
    EXPECT_EQ(repository_->list_revisions()->size(), 0u);
}

TEST_F(MovingSourceTest, CancellingLeavesNoRevisionAndKeepsTheWork) {
    for (int i = 0; i < 50; ++i)
        put("file-" + std::to_string(i), random_text(100'000, unsigned(i)));
    put("z-last", "x");
    std::stop_source stop;
    fs_.on_open = [&](std::string_view name) {
        if (name == "z-last") stop.request_stop();
        return 0;
    };
    request_.threads = 1;
    auto result = try_run(stop.get_token());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::cancelled);
    EXPECT_EQ(result.error().code(), ErrorCode::cancelled);
    EXPECT_EQ(repository_->list_revisions()->size(), 0u);
    fs_.on_open = nullptr;
    BackupResult second = run();
    EXPECT_EQ(second.counts.data_blobs_new, 1u) << "the other 50 were kept";
}

TEST_F(MovingSourceTest, AFullRepositoryIsAnErrorAndNoRevision) {
    for (int i = 0; i < 20; ++i)
        put("file-" + std::to_string(i), random_text(400'000, unsigned(i)));
    put("large", random_text(5'000'000, 99));
    backend_.set_capacity(3'000'000);
    request_.write.pack_bytes = std::size_t{4} << 20;
    auto result = try_run();
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::no_space);
    backend_.set_capacity(UINT64_MAX);
    EXPECT_EQ(repository_->list_revisions()->size(), 0u);
    EXPECT_EQ(names(run(), source_).size(), 21u);
}

}  // namespace backup
