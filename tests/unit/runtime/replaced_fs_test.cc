#include "daemon/runtime/replaced_fs.h"

#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

class Replaced : public testing::Test {
  protected:
    Replaced() {
        for (const char* name : {"/live", "/live/sub", "/snap", "/snap/sub"})
            ::mkdir((folder_.path() + name).c_str(), 0755);
        put("live/sub/file", "live");
        put("snap/sub/file", "snapshot");
        put("liver", "another");
    }
    void put(const std::string& name, const std::string& text) {
        std::ofstream(folder_.path() + "/" + name) << text;
    }
    std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
    Path path(const std::string& name) const { return *Path::parse(at(name)); }
    std::string read(Fs& fs, int directory, const std::string& name) {
        UniqueFd fd(fs.open(directory, name.c_str(), O_RDONLY));
        EXPECT_GE(fd.get(), 0) << name;
        Bytes buffer(100);
        const ssize_t got = fs.read(fd.get(), buffer);
        return std::string(as_text(ByteView(buffer).first(static_cast<std::size_t>(got))));
    }
    TempDirectory folder_;
};

// Everything that is called snap is on another device.
class OtherDevice final : public RealFs {
  public:
    int status(int directory, const char* name, int flags, struct statx& out) override {
        const int error = RealFs::status(directory, name, flags, out);
        const std::string text = name;
        if (text.find("/snap") != std::string::npos || text == "file") out.stx_dev_minor += 7;
        return error;
    }
};

TEST_F(Replaced, NamesOfTheOnePlaceShowWhatIsInTheOther) {
    auto made = ReplacedFs::make(RealFs::instance(), {{path("live"), path("snap")}});
    ASSERT_TRUE(made.ok()) << made.error().message();
    ReplacedFs& fs = **made;
    EXPECT_EQ(read(fs, AT_FDCWD, at("live/sub/file")), "snapshot");
    EXPECT_EQ(read(fs, AT_FDCWD, at("liver")), "another");
    UniqueFd directory(fs.open(AT_FDCWD, at("live/sub").c_str(), O_RDONLY | O_DIRECTORY));
    EXPECT_EQ(read(fs, directory.get(), "file"), "snapshot");
}

TEST_F(Replaced, WhatStandsForItHasTheDeviceNumberOfTheLiveOne) {
    OtherDevice base;
    auto made = ReplacedFs::make(base, {{path("live"), path("snap")}});
    ASSERT_TRUE(made.ok());
    ReplacedFs& fs = **made;
    struct statx live {
    }, there{};
    ASSERT_EQ(base.status(AT_FDCWD, at("live").c_str(), 0, live), 0);
    ASSERT_EQ(fs.status(AT_FDCWD, at("live").c_str(), 0, there), 0);
    EXPECT_EQ(there.stx_dev_minor, live.stx_dev_minor);
    UniqueFd directory(fs.open(AT_FDCWD, at("live/sub").c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(fs.status(directory.get(), "file", 0, there), 0);
    EXPECT_EQ(there.stx_dev_minor, live.stx_dev_minor);
    // Elsewhere nothing is changed, nor when the descriptor's number is used again.
    const int number = directory.release();
    ::close(number);
    UniqueFd other(fs.open(AT_FDCWD, folder_.path().c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(other.get(), number);
    put("file", "x");
    ASSERT_EQ(fs.status(other.get(), "file", 0, there), 0);
    EXPECT_NE(there.stx_dev_minor, live.stx_dev_minor);
}

TEST_F(Replaced, WhatIsNotThereOrOfAnotherKindIsRefused) {
    auto missing = ReplacedFs::make(RealFs::instance(), {{path("live"), path("gone")}});
    ASSERT_FALSE(missing.ok());
    EXPECT_NE(missing.error().message().find("stands for"), std::string::npos);
    auto file = ReplacedFs::make(RealFs::instance(), {{path("live"), path("liver")}});
    ASSERT_FALSE(file.ok());
    EXPECT_NE(file.error().message().find("another kind"), std::string::npos);
}

}  // namespace
}  // namespace backup
