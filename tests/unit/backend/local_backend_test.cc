#include "daemon/backend/local_backend.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/backend/layout.h"
#include "tests/support/fixtures.h"
#include "tests/support/small_mount.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

namespace fs = std::filesystem;

FileId some_id(std::uint8_t first = 0xab) {
    FileId id;
    id.bytes[0] = first;
    id.bytes[31] = 1;
    return id;
}

mode_t mode_of(const fs::path& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
}

std::size_t files_below(const fs::path& path) {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path))
        count += entry.is_regular_file();
    return count;
}

class LocalBackendTest : public testing::Test {
  protected:
    LocalBackendTest()
        : root_(temp_.path() + "/deep/repo"), backend_(Path::parse(root_.string()).value()) {}
    void SetUp() override { ASSERT_TRUE(backend_.create().ok()); }
    // Everything but create() wants a repository that is there.
    void put_config() {
        ASSERT_TRUE(backend_.put({FileType::config, {}}, as_bytes("config")).ok());
    }
    fs::path file(const Handle& handle) const { return root_ / layout_path(handle); }

    TempDirectory temp_;
    fs::path root_;
    LocalBackend backend_;
};

TEST(LocalBackend, MakesNoRepositoryAmongOtherFiles) {
    TempDirectory temp;
    fs::create_directories(temp.path() + "/photos/2026");
    auto made = LocalBackend(Path::parse(temp.path()).value()).create();
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().kind(), ErrorKind::conflict);
    EXPECT_NE(made.error().message().find("photos"), std::string::npos) << made.error().message();
    EXPECT_FALSE(fs::exists(temp.path() + "/keys"));

    fs::create_directories(temp.path() + "/disk/lost+found");
    fs::create_directories(temp.path() + "/disk/data/00");
    EXPECT_TRUE(LocalBackend(Path::parse(temp.path() + "/disk").value()).create().ok())
        << "what every new file system has, and what an interrupted attempt leaves";
}

TEST_F(LocalBackendTest, CreateMakesTheWholeLayoutForTheOwnerOnly) {
    for (const char* name :
         {"keys", "locks", "snapshots", "index", "data", "data/00", "data/7f", "data/ff"})
        EXPECT_EQ(mode_of(root_ / name), 0700u) << name;
    EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "data"), fs::directory_iterator()), 256);
}

TEST_F(LocalBackendTest, StoredFilesAreReadOnly) {
    Handle pack{FileType::pack, some_id()};
    ASSERT_TRUE(backend_.put(pack, as_bytes("pack")).ok());
    EXPECT_EQ(mode_of(file(pack)), 0400u);
}

TEST_F(LocalBackendTest, AGroupReadableConfigLetsTheGroupIn) {
    put_config();
    fs::permissions(root_ / "config", static_cast<fs::perms>(0440));
    fs::remove(root_ / "data/ab");
    LocalBackend other(backend_.root());
    Handle pack{FileType::pack, some_id()};
    ASSERT_TRUE(other.put(pack, as_bytes("pack")).ok());
    EXPECT_EQ(mode_of(file(pack)), 0440u);
    EXPECT_EQ(mode_of(file(pack).parent_path()), 0770u);
}

TEST_F(LocalBackendTest, MissingDirectoriesOfARepositoryAreMadeOnDemand) {
    put_config();
    fs::remove_all(root_ / "data");
    fs::remove_all(root_ / "index");
    EXPECT_TRUE(backend_.put({FileType::pack, some_id()}, as_bytes("pack")).ok());
    EXPECT_TRUE(backend_.put({FileType::index, some_id()}, as_bytes("index")).ok());
    EXPECT_EQ(as_text(backend_.get({FileType::pack, some_id()}).value()), "pack");
}

TEST_F(LocalBackendTest, MissingDirectoriesListAsEmpty) {
    fs::remove_all(root_ / "data");
    fs::remove_all(root_ / "index");
    int count = 0;
    EXPECT_TRUE(backend_.list(FileType::pack, [&](const FileInfo&) { ++count; }).ok());
    EXPECT_TRUE(backend_.list(FileType::index, [&](const FileInfo&) { ++count; }).ok());
    EXPECT_EQ(count, 0);
}

TEST_F(LocalBackendTest, NothingIsWrittenBelowAnEmptyMountPoint) {
    fs::remove_all(root_);
    fs::create_directories(root_);
    auto put = backend_.put({FileType::pack, some_id()}, as_bytes("pack"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::not_found);
    EXPECT_EQ(put.error().code(), ErrorCode::repository_unavailable);
    EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(LocalBackendTest, ARepositoryThatVanishedIsAnErrorNotAnEmptyList) {
    put_config();
    ASSERT_TRUE(backend_.get({FileType::config, {}}).ok());
    fs::remove_all(root_);
    for (FileType type : {FileType::pack, FileType::snapshot}) {
        auto listed = backend_.list(type, [](const FileInfo&) {});
        ASSERT_FALSE(listed.ok());
        EXPECT_EQ(listed.error().code(), ErrorCode::repository_unavailable);
    }
}

TEST_F(LocalBackendTest, PacksInTheWrongDirectoryAreNotListed) {
    std::ofstream(root_ / "data/00" / some_id(0xab).hex()) << "x";
    std::ofstream(root_ / "data" / some_id(0xab).hex()) << "x";
    int count = 0;
    ASSERT_TRUE(backend_.list(FileType::pack, [&](const FileInfo&) { ++count; }).ok());
    EXPECT_EQ(count, 0);
}

TEST_F(LocalBackendTest, FailedPutsLeaveNoTemporaryFile) {
    put_config();
    std::size_t before = files_below(root_);
    Handle pack{FileType::pack, some_id()};
    fs::create_directory(file(pack));  // nothing can be renamed onto it
    EXPECT_FALSE(backend_.put(pack, as_bytes("pack")).ok());
    EXPECT_EQ(files_below(root_), before);
}

TEST_F(LocalBackendTest, WhatIsNoFileIsNeverTakenForTheStoredOne) {
    Handle pack{FileType::pack, some_id()};
    fs::create_directory(file(pack));
    struct stat info {};
    ASSERT_EQ(::stat(file(pack).c_str(), &info), 0);
    auto put = backend_.put(pack, Bytes(static_cast<std::size_t>(info.st_size), std::uint8_t{1}));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::conflict);
}

TEST_F(LocalBackendTest, OnlyOwnLeftoversOfADayAgoAreRemoved) {
    std::string hex = some_id().hex();
    auto plant = [&](const std::string& name, int hours_old) {
        fs::path path = root_ / "data/ab" / name;
        std::ofstream(path) << "x";
        fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(hours_old));
        return path;
    };
    fs::path old = plant(hex + "-tmp-backupd-0123456789abcdef", 25);
    fs::path young = plant(hex + "-tmp-backupd-0123456789abcde0", 23);
    fs::path foreign = plant(hex + "-tmp-123456789", 1000);
    fs::path odd = plant("note-tmp-backupd-0123456789abcdef", 1000);
    fs::path longer = plant(hex + "-tmp-backupd-0123456789abcdef0", 1000);
    fs::path real = plant(hex, 1000);

    LocalBackend other(backend_.root());
    ASSERT_TRUE(other.list(FileType::pack, [](const FileInfo&) {}).ok());
    EXPECT_TRUE(fs::exists(old)) << "reading removes nothing";
    ASSERT_TRUE(other.put({FileType::index, some_id()}, as_bytes("index")).ok());
    EXPECT_FALSE(fs::exists(old));
    for (const fs::path& path : {young, foreign, odd, longer, real})
        EXPECT_TRUE(fs::exists(path)) << path;
}

TEST_F(LocalBackendTest, ListSurvivesFilesThatVanishMeanwhile) {
    // A dangling link is listed by readdir and gone at stat, as a file removed in between.
    fs::create_symlink("nowhere", root_ / "snapshots" / some_id().hex());
    ASSERT_TRUE(backend_.put({FileType::snapshot, some_id(1)}, as_bytes("x")).ok());
    int count = 0;
    EXPECT_TRUE(backend_.list(FileType::snapshot, [&](const FileInfo&) { ++count; }).ok());
    EXPECT_EQ(count, 1);
}

TEST_F(LocalBackendTest, ADirectoryThatCannotBeReadIsAnError) {
    fs::remove(root_ / "index");
    std::ofstream(root_ / "index") << "not a directory";
    auto listed = backend_.list(FileType::index, [](const FileInfo&) {});
    EXPECT_FALSE(listed.ok());
}

TEST_F(LocalBackendTest, SpecialFilesAreNotRead) {
    Handle key{FileType::key, some_id()};
    ASSERT_EQ(mkfifo(file(key).c_str(), 0600), 0);
    EXPECT_EQ(backend_.get(key).error().kind(), ErrorKind::corrupt);  // and does not block
    EXPECT_EQ(backend_.stat(key).error().kind(), ErrorKind::corrupt);
}

TEST_F(LocalBackendTest, SpaceIsThatOfTheFileSystem) {
    auto space = backend_.space();
    ASSERT_TRUE(space);
    EXPECT_GT(space->total_bytes, 0u);
    EXPECT_LE(space->free_bytes, space->total_bytes);
    EXPECT_FALSE(LocalBackend(Path::parse("/nonexistent/x").value()).space());
}

TEST_F(LocalBackendTest, ReadsARepositoryOfRestic) {
    LocalBackend fixture_backend(Path::parse(fixture("restic/v2/repo").string()).value());
    std::size_t packs = 0;
    for (FileType type :
         {FileType::key, FileType::snapshot, FileType::index, FileType::pack, FileType::lock}) {
        auto listed = fixture_backend.list(type, [&](const FileInfo& info) {
            packs += type == FileType::pack;
            auto content = fixture_backend.get({type, info.id});
            ASSERT_TRUE(content.ok());
            EXPECT_EQ(content->size(), info.size);
        });
        EXPECT_TRUE(listed.ok());
    }
    EXPECT_EQ(packs, 2u);
}

#define SKIP_UNLESS_MOUNTED(mount) \
    if (!(mount).is_mounted()) GTEST_SKIP() << "SKIPPED: mounting a tmpfs needs root"

TEST(LocalBackendOnAFullDisk, PutLeavesNothingAndSaysNoSpace) {
    SmallMount disk("size=2m");
    SKIP_UNLESS_MOUNTED(disk);
    LocalBackend backend(Path::parse(disk.path() + "/repo").value());
    ASSERT_TRUE(backend.create().ok());
    ASSERT_TRUE(backend.put({FileType::config, {}}, as_bytes("config")).ok());
    std::size_t before = files_below(disk.path());
    Bytes large(3'000'000);
    std::fill(large.begin(), large.end(), std::uint8_t{7});
    auto put = backend.put({FileType::pack, some_id()}, large);
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::no_space);
    EXPECT_EQ(put.error().code(), ErrorCode::no_space);
    EXPECT_NE(put.error().message().find(disk.path()), std::string::npos) << "which disk?";
    EXPECT_EQ(files_below(disk.path()), before);
    EXPECT_TRUE(backend.put({FileType::pack, some_id()}, ByteView(large).first(100'000)).ok())
        << "what fits is stored";
}

TEST(LocalBackendOnAFullDisk, RunningOutOfInodesSaysNoSpace) {
    SmallMount disk("size=8m,nr_inodes=300");
    SKIP_UNLESS_MOUNTED(disk);
    LocalBackend backend(Path::parse(disk.path() + "/repo").value());
    ASSERT_TRUE(backend.create().ok());
    Result<> put;
    for (unsigned i = 0; i < 100 && put.ok(); ++i)
        put = backend.put({FileType::pack, some_id(static_cast<std::uint8_t>(i))}, as_bytes("x"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::no_space);
}

TEST(LocalBackendOnAReadOnlyDisk, ReadingWorksAndPuttingIsDenied) {
    SmallMount disk("size=4m");
    SKIP_UNLESS_MOUNTED(disk);
    Path root = Path::parse(disk.path() + "/repo").value();
    ASSERT_TRUE(LocalBackend(root).create().ok());
    ASSERT_TRUE(LocalBackend(root).put({FileType::config, {}}, as_bytes("config")).ok());
    ASSERT_TRUE(LocalBackend(root).put({FileType::pack, some_id()}, as_bytes("pack")).ok());
    ASSERT_TRUE(disk.remount(MS_RDONLY, "size=4m"));
    LocalBackend backend(root);
    EXPECT_EQ(as_text(backend.get({FileType::pack, some_id()}).value()), "pack");
    int count = 0;
    EXPECT_TRUE(backend.list(FileType::pack, [&](const FileInfo&) { ++count; }).ok());
    EXPECT_EQ(count, 1);
    auto put = backend.put({FileType::pack, some_id(1)}, as_bytes("pack"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::denied);
    EXPECT_EQ(backend.remove({FileType::pack, some_id()}).error().kind(), ErrorKind::denied);
}

}  // namespace
}  // namespace backup
