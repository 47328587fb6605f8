#include "daemon/archive/directory_fds.h"

#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/support/temp_directory.h"

namespace backup {

namespace {

class DirectoryFdsTest : public testing::Test {
  protected:
    DirectoryFdsTest() {
        std::filesystem::create_directories(folder_.path() + "/a/b");
        top_.path = folder_.path();
        a_.parent = &top_;
        a_.name = "a";
        b_.parent = &a_;
        b_.name = "b";
        a_.identity = identity("/a");
        b_.identity = identity("/a/b");
    }
    FileIdentity identity(const std::string& below) {
        struct stat status;
        EXPECT_EQ(::stat((folder_.path() + below).c_str(), &status), 0);
        return {status.st_dev, status.st_ino};
    }
    bool is_directory(int fd, const FileIdentity& expected) {
        struct stat status;
        return ::fstat(fd, &status) == 0 && FileIdentity{status.st_dev, status.st_ino} == expected;
    }

    TempDirectory folder_;
    RealFs fs_;
    Directory top_, a_, b_;
};

}  // namespace

TEST_F(DirectoryFdsTest, NeededDirectoriesStayOpen) {
    DirectoryFds fds(fs_, 10);
    b_.fd_needed = 2;
    int first = fds.pin(b_);
    ASSERT_GE(first, 0);
    EXPECT_TRUE(is_directory(first, b_.identity));
    fds.unpin(b_);
    EXPECT_TRUE(b_.fd);
    fds.need(b_, -1);
    EXPECT_TRUE(b_.fd);
    fds.need(b_, -1);
    EXPECT_FALSE(b_.fd) << "nobody needs it any more";
}

TEST_F(DirectoryFdsTest, BeyondTheLimitTheyAreClosedAndFoundAgain) {
    DirectoryFds fds(fs_, 0);
    b_.fd_needed = 2;
    ASSERT_GE(fds.pin(b_), 0);
    fds.unpin(b_);
    EXPECT_FALSE(b_.fd);
    int again = fds.pin(b_);
    ASSERT_GE(again, 0);
    EXPECT_TRUE(is_directory(again, b_.identity));
    EXPECT_FALSE(a_.fd) << "what lies between is not kept open";
    fds.unpin(b_);
}

TEST_F(DirectoryFdsTest, AnotherDirectoryOfTheSameNameIsNotTakenForIt) {
    DirectoryFds fds(fs_, 0);
    b_.fd_needed = 2;
    std::filesystem::rename(folder_.path() + "/a", folder_.path() + "/moved");
    EXPECT_EQ(fds.pin(b_), -ENOENT);
    std::filesystem::create_directories(folder_.path() + "/a/b");
    EXPECT_EQ(fds.pin(b_), -ESTALE);
    std::filesystem::remove_all(folder_.path() + "/a");
    std::filesystem::create_directory_symlink("moved", folder_.path() + "/a");
    int through_link = fds.pin(b_);
    EXPECT_TRUE(through_link == -ELOOP || through_link == -ENOTDIR) << through_link;
}

}  // namespace backup
