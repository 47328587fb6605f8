#include "daemon/runtime/fs.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

class RealFsTest : public testing::Test {
  protected:
    RealFsTest() {
        char name[] = "/tmp/backupd-fs-XXXXXX";
        folder_ = ::mkdtemp(name);
        directory_.reset(fs_.open(AT_FDCWD, folder_.c_str(), O_RDONLY | O_DIRECTORY));
    }
    ~RealFsTest() override { std::filesystem::remove_all(folder_); }

    void put(const std::string& name, std::string_view content) {
        UniqueFd fd(::openat(directory_.get(), name.c_str(), O_WRONLY | O_CREAT, 0644));
        ASSERT_TRUE(fd);
        ASSERT_EQ(::write(fd.get(), content.data(), content.size()), ssize_t(content.size()));
    }

    RealFs fs_;
    std::string folder_;
    UniqueFd directory_;
};

}  // namespace

TEST_F(RealFsTest, FailuresAreNegativeErrno) {
    struct statx status;
    EXPECT_EQ(fs_.open(directory_.get(), "missing", O_RDONLY), -ENOENT);
    EXPECT_EQ(fs_.status(directory_.get(), "missing", AT_SYMLINK_NOFOLLOW, status), -ENOENT);
    EXPECT_EQ(fs_.open(directory_.get(), ".", O_WRONLY), -EISDIR);
    ASSERT_EQ(::symlinkat("target", directory_.get(), "link"), 0);
    EXPECT_EQ(fs_.open(directory_.get(), "link", O_RDONLY | O_NOFOLLOW), -ELOOP);
}

TEST_F(RealFsTest, DescriptorsAreNotInherited) {
    EXPECT_EQ(::fcntl(directory_.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(RealFsTest, ListsEveryNameOnce) {
    std::set<std::string> expected{".", ".."};
    for (int i = 0; i < 500; ++i) {
        put("file-" + std::to_string(i), "");
        expected.insert("file-" + std::to_string(i));
    }
    std::multiset<std::string> seen;
    std::array<std::uint8_t, 4096> buffer;
    for (;;) {
        ssize_t size = fs_.list(directory_.get(), buffer);
        ASSERT_GE(size, 0);
        if (size == 0) break;
        for (ssize_t at = 0; at < size;) {
            auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
            seen.insert(entry->d_name);
            at += entry->d_reclen;
        }
    }
    EXPECT_EQ(seen, std::multiset<std::string>(expected.begin(), expected.end()));
}

TEST_F(RealFsTest, ReadsExtendedAttributesByDescriptorAndByName) {
    put("file", "x");
    ASSERT_EQ(::symlinkat("file", directory_.get(), "link"), 0);
    if (::setxattr((folder_ + "/file").c_str(), "user.color", "blue", 4, 0) != 0)
        GTEST_SKIP() << "no user attributes on this file system";
    std::array<std::uint8_t, 64> buffer;
    UniqueFd fd(fs_.open(directory_.get(), "file", O_RDONLY | O_NOATIME));
    ASSERT_EQ(fs_.list_xattrs(fd.get(), buffer), 11);
    EXPECT_STREQ(reinterpret_cast<const char*>(buffer.data()), "user.color");
    EXPECT_EQ(fs_.get_xattr(fd.get(), "user.color", buffer), 4);
    EXPECT_EQ(fs_.get_xattr(fd.get(), "user.none", buffer), -ENODATA);
    EXPECT_EQ(fs_.list_xattrs_at(directory_.get(), "file", false, buffer), 11);
    EXPECT_EQ(fs_.get_xattr_at(directory_.get(), "link", true, "user.color", buffer), 4);
    EXPECT_EQ(fs_.list_xattrs_at(directory_.get(), "link", false, buffer), 0);
    EXPECT_EQ(fs_.list_xattrs_at(AT_FDCWD, (folder_ + "/link").c_str(), true, buffer), 11);
}

TEST_F(RealFsTest, SeeksHoles) {
    put("sparse", "");
    UniqueFd fd(::openat(directory_.get(), "sparse", O_RDWR));
    ASSERT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
    EXPECT_EQ(fs_.seek(fd.get(), 0, SEEK_HOLE), 0);
    EXPECT_EQ(fs_.seek(fd.get(), 1 << 20, SEEK_DATA), -ENXIO);
}

}  // namespace backup
