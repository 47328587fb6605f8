#include "daemon/watch/open_path.h"

#include <algorithm>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/watch/watcher.h"
#include "tests/support/temp_directory.h"

namespace backup {

namespace {

class OpenPathTest : public testing::Test {
  protected:
    // 30 directories of 200 bytes each: some 6,000 bytes.
    OpenPathTest() : deep_(folder_.path()) {
        UniqueFd at(open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const std::string name(200, 'n');
        for (int i = 0; i < 30; ++i) {
            EXPECT_EQ(mkdirat(at.get(), name.c_str(), 0700), 0);
            EXPECT_EQ(mkdirat(at.get(), "beside", 0700), 0);
            at.reset(openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            deep_ += "/" + name;
        }
    }
    TempDirectory folder_;
    std::string deep_;
};

}  // namespace

TEST_F(OpenPathTest, APathLongerThanTheKernelTakesIsOpened) {
    const UniqueFd directory(std::max(open_path(deep_, O_PATH | O_DIRECTORY | O_CLOEXEC), -1));
    ASSERT_TRUE(directory);
    auto handle = handle_of(directory.get(), "");
    auto by_path = handle_of_path(deep_);
    ASSERT_TRUE(handle.ok() && by_path.ok());
    EXPECT_EQ(*handle, *by_path);
}

TEST_F(OpenPathTest, WhereADirectoryIsThatIsTooDeepForTheKernelToSayIsFoundByGoingUp) {
    const UniqueFd directory(std::max(open_path(deep_, O_PATH | O_DIRECTORY | O_CLOEXEC), -1));
    ASSERT_TRUE(directory);
    EXPECT_EQ(path_of_deep_directory(directory.get()), deep_);
}

TEST_F(OpenPathTest, WhatIsNotThereIsAnErrorHoweverLong) {
    EXPECT_EQ(open_path(deep_ + "/none", O_PATH | O_CLOEXEC), -ENOENT);
    EXPECT_FALSE(handle_of_path(deep_ + "/none").ok());
}

}  // namespace backup
