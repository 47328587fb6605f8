#include "daemon/jobs/undo_book.h"

#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/temp_directory.h"

namespace backup {
namespace {

UndoRecord request() {
    UndoRecord record;
    record.job = 12;
    record.set = "home";
    record.repository = "nas";
    record.repository_id = "abc";
    record.revision = "0123";
    record.target = "/home/a b";
    record.paths = {"/home/x", "/with blank\n%20\xff"};
    record.on_conflict = "keep-both";
    record.delete_others = true;
    record.resumes = 7;
    return record;
}

TEST(UndoBook, GivesBackWhatWasAskedForAndWhatHappened) {
    const TempDirectory scratch;
    {
        auto log = UndoLog::begin(scratch.path() + "/undo", request());
        ASSERT_TRUE(log.ok());
        (*log)->kept("4567");
        (*log)->will_create("/new\nname", "/home/x/new\nname");
        (*log)->will_change_entries("/", {5, 6});
        (*log)->will_change_entries("/", {7, 8});
        (*log)->will_change_entries("/old", {-3, 999'999'999});
        (*log)->will_alter("/old");
        (*log)->left("/", {9, 1});
        ASSERT_TRUE((*log)->sync().ok());
    }
    auto read = read_undo(scratch.path() + "/undo", 12);
    ASSERT_TRUE(read.ok()) << read.error().message();
    const UndoRecord asked = request();
    EXPECT_EQ(read->set, asked.set);
    EXPECT_EQ(read->repository, asked.repository);
    EXPECT_EQ(read->target, asked.target);
    EXPECT_EQ(read->paths, asked.paths);
    EXPECT_EQ(read->on_conflict, asked.on_conflict);
    EXPECT_TRUE(read->delete_others);
    EXPECT_FALSE(read->full_paths);
    EXPECT_EQ(read->resumes, 7u);
    EXPECT_EQ(read->kept, std::vector<std::string>{"4567"});
    ASSERT_EQ(read->created.size(), 1u);
    EXPECT_EQ(read->created[0].path, "/home/a b/new\nname");
    EXPECT_EQ(read->created[0].source, "/home/x/new\nname");
    EXPECT_EQ(read->entries.at("/home/a b").tv_sec, 5);  // the first counts
    EXPECT_EQ(read->entries.at("/home/a b/old").tv_sec, -3);
    EXPECT_EQ(read->left.at("/home/a b").tv_nsec, 1);
    EXPECT_EQ(read->altered, std::vector<std::string>{"/home/a b/old"});
}

TEST(UndoBook, ALineThatWasCutOffCountsForNothing) {
    const TempDirectory scratch;
    ASSERT_TRUE(UndoLog::begin(scratch.path(), request()).ok());
    std::ofstream(scratch.path() + "/12", std::ios::app) << "created /a /a\ncreated /b /b";
    auto read = read_undo(scratch.path(), 12);
    ASSERT_TRUE(read.ok());
    ASSERT_EQ(read->created.size(), 1u);
    EXPECT_EQ(read->created[0].path, "/a");
}

TEST(UndoBook, AnUnknownJobIsNamedAndAnotherFormatIsNotGuessedAt) {
    const TempDirectory scratch;
    EXPECT_EQ(read_undo(scratch.path(), 3).error().code(), ErrorCode::no_such_job);
    std::ofstream(scratch.path() + "/4") << "backupd-undo 2\nset home\n";
    EXPECT_EQ(read_undo(scratch.path(), 4).error().kind(), ErrorKind::corrupt);
}

TEST(UndoBook, IsKeptForThirtyDays) {
    const TempDirectory scratch;
    ASSERT_TRUE(UndoLog::begin(scratch.path(), request()).ok());
    const Timestamp now = std::chrono::system_clock::now();
    expire_undo(scratch.path(), now + std::chrono::hours(24 * 29));
    EXPECT_TRUE(read_undo(scratch.path(), 12).ok());
    expire_undo(scratch.path(), now + std::chrono::hours(24 * 31));
    EXPECT_FALSE(read_undo(scratch.path(), 12).ok());
}

TEST(UndoBook, NamesTheFileSystemsThatItWorkedInAndMissesThem) {
    const auto mounts = MountTable::read();
    ASSERT_TRUE(mounts.ok());
    const Mount* shared = mounts->find("/dev/shm");
    if (shared == nullptr || shared->place != "/dev/shm")
        GTEST_SKIP() << "nothing is mounted there";
    const TempDirectory folder;
    UndoRecord request;
    request.job = 7;
    request.target = "/";
    {
        auto log = UndoLog::begin(folder.path(), request);
        ASSERT_TRUE(log.ok());
        (*log)->will_change_entries("/dev/shm", {});
        (*log)->will_alter("/dev/shm");
        ASSERT_TRUE((*log)->sync().ok());
    }
    auto record = read_undo(folder.path(), 7);
    ASSERT_TRUE(record.ok());
    ASSERT_EQ(record->volumes.size(), 1u);
    EXPECT_TRUE(check_volumes(*record).ok());
    record->volumes["/dev/shm"] += "another";
    EXPECT_EQ(check_volumes(*record).error().code(), ErrorCode::conflict);
    EXPECT_NE(check_volumes(*record).error().message().find("another file system"),
              std::string::npos);
    record->volumes = {{"/dev/shm/nothing/is/mounted/here", "uuid:1"}};
    EXPECT_EQ(check_volumes(*record).error().code(), ErrorCode::conflict);
    EXPECT_NE(check_volumes(*record).error().message().find("is not there"), std::string::npos);
}

}  // namespace
}  // namespace backup
