#include "daemon/restore/temp_name.h"

#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

// A name that a process made which is gone by now.
std::string name_of_the_dead() {
    int pipes[2];
    EXPECT_EQ(::pipe(pipes), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        // The name of this process: as a new program would make it.
        const std::string name = temp_name_of_process(static_cast<std::uint64_t>(::getpid()));
        (void)!::write(pipes[1], name.data(), name.size());
        ::_exit(0);
    }
    ::close(pipes[1]);
    char buffer[256];
    const ssize_t got = ::read(pipes[0], buffer, sizeof buffer);
    ::close(pipes[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return std::string(buffer, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
}

TEST(TempName, NoNameComesTwiceAndAllAreRecognised) {
    const std::string first = next_temp_name(), second = next_temp_name();
    EXPECT_NE(first, second);
    EXPECT_TRUE(is_temp_name(first));
    EXPECT_TRUE(is_temp_name(second));
}

TEST(TempName, OtherNamesAreNotTakenForOurs) {
    for (const char* name : {"", ".backupd-.tmp", ".backupd-notes.tmp", "a.tmp", ".backupd-1-2.tmp",
                             ".backupd-0123456789abcdef0123456789abcd.tmp",
                             ".backupd-0123456789ABCDEF0123456789ABCD-1.tmp"})
        EXPECT_FALSE(is_temp_name(name)) << name;
}

TEST(TempName, WhatARunningProcessMakesIsNotLeftOver) {
    EXPECT_FALSE(is_left_over(next_temp_name()));
    EXPECT_FALSE(is_left_over(temp_name_of_process(1)));
}

TEST(TempName, WhatADeadProcessMadeIsLeftOver) {
    EXPECT_TRUE(is_left_over(name_of_the_dead()));
}

TEST(TempName, WhatAnotherMachineMakesIsNotJudged) {
    std::string name = name_of_the_dead();
    char& digit = name[std::string(".backupd-").size()];
    digit = digit == '0' ? '1' : '0';
    EXPECT_TRUE(is_temp_name(name));
    EXPECT_FALSE(is_left_over(name));
}

TEST(TempName, WhatAnEarlierBootMadeIsLeftOver) {
    std::string name = next_temp_name();
    char& digit = name[std::string(".backupd-").size() + 6];
    digit = digit == '0' ? '1' : '0';
    EXPECT_TRUE(is_left_over(name));
}

TEST(TempName, OnlyLeftoversAreRemovedFromADirectory) {
    const TempDirectory scratch;
    const std::filesystem::path path = scratch.path();
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const std::string dead = name_of_the_dead(), live = next_temp_name();
    for (const std::string& name : {dead, live, std::string("kept.tmp")})
        std::ofstream(path / name) << "x";
    EXPECT_EQ(remove_leftovers(fd.get()), 1u);
    EXPECT_FALSE(std::filesystem::exists(path / dead));
    EXPECT_TRUE(std::filesystem::exists(path / live));
    EXPECT_TRUE(std::filesystem::exists(path / "kept.tmp"));
}

TEST(TempName, ALeftOverDirectoryIsRemovedWithAllInItAndNoLinkIsFollowed) {
    namespace fs = std::filesystem;
    const TempDirectory scratch;
    const fs::path target = fs::path(scratch.path()) / "target",
                   outside = fs::path(scratch.path()) / "outside";
    fs::create_directories(outside / "precious");
    std::ofstream(outside / "precious/file") << "x";
    const fs::path dead = target / name_of_the_dead();
    fs::create_directories(dead / "a/b/c");
    fs::create_directories(dead / "d");
    std::ofstream(dead / "a/b/file") << "x";
    fs::create_directory_symlink(outside / "precious", dead / "a/link");
    fs::create_directory_symlink(outside / "precious", dead / "link");
    const fs::path live = target / next_temp_name();
    fs::create_directory(live);
    const UniqueFd fd(::open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(remove_leftovers(fd.get()), 1u);
    EXPECT_TRUE(fs::exists(live));
    EXPECT_EQ(std::distance(fs::directory_iterator(target), fs::directory_iterator()), 1);
    EXPECT_TRUE(fs::exists(outside / "precious/file"));
}

}  // namespace
}  // namespace backup
