#include "daemon/tracking/known_places.h"

#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>

#include "daemon/watch/watcher.h"
#include "tests/support/temp_directory.h"

namespace backup {

namespace {

class KnownPlacesTest : public testing::Test {
  protected:
    std::string make(const std::string& name) {
        std::string path = folder_.path() + "/" + name;
        std::filesystem::create_directory(path);
        return path;
    }
    static ObjectHandle handle(const std::string& path) {
        return *handle_of(AT_FDCWD, path.c_str());
    }
    TempDirectory folder_;
};

}  // namespace

TEST_F(KnownPlacesTest, NamesWhatItWasTold) {
    KnownPlaces places;
    std::string a = make("a");
    EXPECT_EQ(places.path_of(handle(a)), std::nullopt);
    places.remember(handle(a), a);
    EXPECT_EQ(places.path_of(handle(a)), a);
}

TEST_F(KnownPlacesTest, DoesNotNameAPlaceWhereAnotherDirectoryIsNow) {
    KnownPlaces places;
    std::string a = make("a");
    ObjectHandle first = handle(a);
    places.remember(first, a);
    std::filesystem::rename(a, folder_.path() + "/b");
    make("a");
    EXPECT_EQ(places.path_of(first), std::nullopt);
}

TEST_F(KnownPlacesTest, ForgetsRatherThanGrow) {
    KnownPlaces places(2);
    std::string a = make("a"), b = make("b"), c = make("c");
    for (const std::string& path : {a, b, c}) places.remember(handle(path), path);
    EXPECT_EQ(places.path_of(handle(a)), std::nullopt);
    EXPECT_EQ(places.path_of(handle(c)), c);
}

}  // namespace backup
