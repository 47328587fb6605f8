// What stays out of a revision because somebody asked for it.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/archive/backup.h"
#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;
constexpr const char* kTag = "Signature: 8a477f597d28d172789f06886806bc55\n# more\n";

class ExcludeTest : public ArchiveTest {};

}  // namespace

TEST_F(ExcludeTest, PatternsKeepFilesAndDirectoriesOut) {
    put("keep.txt", "1");
    put("drop.tmp", "2");
    put("cache/inside", "3");
    put("deep/cache/inside", "4");
    put("deep/cache.js", "5");
    set_.exclude.patterns = {"*.tmp", "cache/"};
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), (Names{"deep", "keep.txt"}));
    EXPECT_EQ(names(result, at("deep")), Names{"cache.js"});
    EXPECT_EQ(result.counts.files_new, 2u);
}

TEST_F(ExcludeTest, APathOfTheSetIsNotExcludedByItsOwnName) {
    put("keep.tmp/file", "1");
    set_.paths = {*Path::parse(at("keep.tmp"))};
    set_.exclude.patterns = {"*.tmp"};
    EXPECT_EQ(names(run(), at("keep.tmp")), Names{"file"});
}

TEST_F(ExcludeTest, WhatIsExcludedNowLeavesTheTreeButWasNotRemoved) {
    put("a.tmp", "1");
    put("b", "2");
    run();
    set_.exclude.patterns = {"*.tmp"};
    BackupResult second = run();
    EXPECT_EQ(names(second, source_), Names{"b"});
    EXPECT_EQ(second.counts.files_removed, 0u);
}

TEST_F(ExcludeTest, AMalformedPatternIsRefusedBeforeAnythingIsWritten) {
    put("file", "x");
    set_.exclude.patterns = {"[broken"};
    auto files = backend_.files().size();
    auto result = try_run();
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::invalid);
    EXPECT_EQ(backend_.files().size(), files);
}

TEST_F(ExcludeTest, CacheDirectoriesKeepOnlyTheirTag) {
    put("cache/CACHEDIR.TAG", kTag);
    put("cache/junk", "1");
    put("cache/sub/junk", "2");
    put("liar/CACHEDIR.TAG", "Signature: something else");
    put("liar/file", "3");
    BackupResult result = run();
    EXPECT_EQ(names(result, at("cache")), Names{"CACHEDIR.TAG"});
    EXPECT_EQ(names(result, at("liar")), (Names{"CACHEDIR.TAG", "file"}));
    set_.exclude.cachedir_tag = false;
    EXPECT_EQ(names(run(), at("cache")), (Names{"CACHEDIR.TAG", "junk", "sub"}));
}

TEST_F(ExcludeTest, NodumpIsObeyedForFilesAndDirectories) {
    put("file", "1");
    put("marked", "2");
    put("folder/inside", "3");
    auto mark = [&](const std::string& name) {
        UniqueFd fd(::open(at(name).c_str(), O_RDONLY));
        int flags = 0;
        if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
        flags |= FS_NODUMP_FL;
        return ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0;
    };
    if (!mark("marked") || !mark("folder")) GTEST_SKIP() << "no nodump attribute here";
    EXPECT_EQ(names(run(), source_), Names{"file"});
    set_.exclude.nodump = false;
    EXPECT_EQ(names(run(), source_), (Names{"file", "folder", "marked"}));
    // Set after the file had been stored.
    set_.exclude.nodump = true;
    EXPECT_EQ(names(run(), source_), Names{"file"});
}

TEST_F(ExcludeTest, FilesAboveTheLimitStayOut) {
    put("small", "12345");
    put("limit", "1234567890");
    put("above", "12345678901");
    put("large", random_text(1'000'000, 1));
    set_.exclude.larger_than = 10;
    EXPECT_EQ(names(run(), source_), (Names{"limit", "small"}));
}

TEST_F(ExcludeTest, DirectoriesNeverEnteredStayEmpty) {
    put("repository/data/pack", "1");
    put("file", "2");
    ASSERT_EQ(::symlink("repository", at("alias").c_str()), 0);
    request_.never_enter = {*Path::parse(at("alias"))};
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), (Names{"alias", "file", "repository"}));
    EXPECT_TRUE(names(result, at("repository")).empty());
    EXPECT_TRUE(node(result, at("repository"))->subtree.has_value());
    EXPECT_EQ(result.counts.files_new, 1u);
}

TEST_F(ExcludeTest, OtherFileSystemsLeaveAnEmptyMountPoint) {
    put("file", "1");
    make_directory("mounted");
    if (::mount("none", at("mounted").c_str(), "tmpfs", 0, "size=1m") != 0)
        GTEST_SKIP() << "only root mounts";
    put("mounted/inside", "2");
    put("mounted/sub/inside", "3");
    set_.exclude.other_filesystems = true;
    BackupResult result = run();
    EXPECT_EQ(names(result, source_), (Names{"file", "mounted"}));
    EXPECT_TRUE(names(result, at("mounted")).empty());
    // As a path of its own it is wanted.
    set_.paths.push_back(*Path::parse(at("mounted")));
    EXPECT_EQ(names(run(), at("mounted")), (Names{"inside", "sub"}));
    set_.paths.pop_back();
    set_.exclude.other_filesystems = false;
    EXPECT_EQ(names(run(), at("mounted")), (Names{"inside", "sub"}));
    ::umount2(at("mounted").c_str(), MNT_DETACH);
}

}  // namespace backup
