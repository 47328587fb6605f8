#include "daemon/watch/census.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/support/temp_directory.h"

namespace backup {

namespace {

namespace fs = std::filesystem;

class CensusTest : public testing::Test {
  protected:
    void SetUp() override {
        for (const char* name : {"held", "read", "mapped", "private", "gone"})
            std::ofstream(at(name)) << std::string(8192, 'x');
    }
    std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
    CensusResult take(std::int32_t own_pid = 0) {
        CensusOptions options;
        options.wanted = [&](const std::string& path) {
            return path.compare(0, folder_.path().size(), folder_.path()) == 0;
        };
        options.own_pid = own_pid;
        auto result = take_census(options);
        EXPECT_TRUE(result.ok());
        return result.ok() ? *result : CensusResult{};
    }
    // A child that does something and then waits; ended with the guard.
    struct Child {
        pid_t pid = -1;
        ~Child() {
            if (pid <= 0) return;
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
    };
    static void in_child(Child& child, const std::function<bool()>& work) {
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        child.pid = fork();
        if (child.pid == 0) {
            const char answer = work() ? 'y' : 'n';
            if (write(ends[1], &answer, 1) == 1)
                for (;;) pause();
            _exit(1);
        }
        close(ends[1]);
        char answer = 0;
        ASSERT_EQ(read(ends[0], &answer, 1), 1);
        close(ends[0]);
        if (answer != 'y') GTEST_SKIP() << "not permitted here";
    }

    TempDirectory folder_;
};

}  // namespace

TEST_F(CensusTest, FindsWhatAnotherProcessHoldsOpenForWriting) {
    Child child;
    in_child(child, [&] {
        open(at("held").c_str(), O_WRONLY | O_APPEND);
        open(at("held").c_str(), O_RDWR);
        open(at("read").c_str(), O_RDONLY);
        open(at("read").c_str(), O_PATH);
        open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY);
        return true;
    });
    const CensusResult result = take();
    ASSERT_EQ(result.files.size(), 1U);
    struct stat status {};
    ASSERT_EQ(stat(at("held").c_str(), &status), 0);
    EXPECT_EQ(result.files[0].path, at("held"));
    EXPECT_EQ(result.files[0].device, status.st_dev);
    EXPECT_EQ(result.files[0].inode, status.st_ino);
    EXPECT_FALSE(result.files[0].is_mapped);
    EXPECT_GE(result.processes, 2U);
    EXPECT_GE(result.descriptors, 5U);
}

TEST_F(CensusTest, FindsSharedWritableMappingsWhoseDescriptorIsClosed) {
    Child child;
    in_child(child, [&] {
        const UniqueFd shared(open(at("mapped").c_str(), O_RDWR));
        const UniqueFd own(open(at("private").c_str(), O_RDWR));
        const UniqueFd read(open(at("read").c_str(), O_RDONLY));
        return mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared.get(), 0) !=
                   MAP_FAILED &&
               mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, own.get(), 0) !=
                   MAP_FAILED &&
               mmap(nullptr, 4096, PROT_READ, MAP_SHARED, read.get(), 0) != MAP_FAILED;
    });
    const CensusResult result = take();
    ASSERT_EQ(result.files.size(), 1U);
    EXPECT_EQ(result.files[0].path, at("mapped"));
    EXPECT_TRUE(result.files[0].is_mapped);
}

TEST_F(CensusTest, LeavesOutOneProcessAndWhatIsNotWanted) {
    const UniqueFd mine(open(at("held").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(take().files.size(), 1U);
    EXPECT_TRUE(take(getpid()).files.empty());
    CensusOptions options;
    options.wanted = [](const std::string&) { return false; };
    EXPECT_TRUE(take_census(options)->files.empty());
}

TEST_F(CensusTest, AFileWithoutANameIsNoMatterAndOneWithAnotherNameIs) {
    const UniqueFd gone(open(at("gone").c_str(), O_WRONLY | O_CLOEXEC));
    fs::create_hard_link(at("gone"), at("other name"));
    fs::remove(at("gone"));
    ASSERT_EQ(take().files.size(), 1U);
    fs::remove(at("other name"));
    EXPECT_TRUE(take().files.empty());
}

TEST_F(CensusTest, NamesWithNewlinesAreFound) {
    const std::string name = at("new\nline");
    std::ofstream(name) << std::string(4096, 'x');
    void* map = nullptr;
    {
        const UniqueFd file(open(name.c_str(), O_RDWR | O_CLOEXEC));
        map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    }
    ASSERT_NE(map, MAP_FAILED);
    const CensusResult result = take();
    munmap(map, 4096);
    ASSERT_EQ(result.files.size(), 1U);
    EXPECT_EQ(result.files[0].path, name);
}

TEST_F(CensusTest, AFileThatAContainerKnowsByAnotherPathIsFoundUnderOurs) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to mount";
    TempDirectory elsewhere;
    Child child;
    in_child(child, [&] {
        if (unshare(CLONE_NEWNS) != 0 ||
            mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount(folder_.path().c_str(), elsewhere.path().c_str(), nullptr, MS_BIND, nullptr) != 0)
            return false;
        return open((elsewhere.path() + "/held").c_str(), O_WRONLY) >= 0;
    });
    if (IsSkipped()) return;
    const CensusResult result = take();
    ASSERT_EQ(result.files.size(), 1U);
    EXPECT_EQ(result.files[0].path, at("held"));
}

TEST_F(CensusTest, FindsTheFilesBehindLoopDevices) {
    fs::create_directories(at("sys/block/loop0/loop"));
    fs::create_directories(at("sys/block/loop1/loop"));
    fs::create_directories(at("sys/block/sda"));
    std::ofstream(at("sys/block/loop0/loop/backing_file")) << at("held") << '\n';
    std::ofstream(at("sys/block/loop0/ro")) << "0\n";
    std::ofstream(at("sys/block/loop1/loop/backing_file")) << at("read") << '\n';
    std::ofstream(at("sys/block/loop1/ro")) << "1\n";
    fs::create_directories(at("proc"));
    CensusOptions options;
    options.proc = at("proc");
    options.sys = at("sys");
    const auto result = take_census(options);
    ASSERT_TRUE(result.ok());
    ASSERT_EQ(result->files.size(), 1U);
    EXPECT_EQ(result->files[0].path, at("held"));
}

TEST_F(CensusTest, WithoutProcItIsAnError) {
    CensusOptions options;
    options.proc = at("nowhere");
    EXPECT_FALSE(take_census(options).ok());
}

}  // namespace backup
