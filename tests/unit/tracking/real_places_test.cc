#include "daemon/tracking/real_places.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "daemon/tracking/volume.h"
#include "tests/support/temp_directory.h"

namespace backup {

namespace {

namespace fs = std::filesystem;

struct RealPlacesTest : testing::Test {
    Path at(const std::string& name) const { return Path::parse(top + "/" + name).value(); }
    std::string real(const std::string& path) const {
        return RealPlaces({at(path)}).real(at(path).text());
    }
    TempDirectory folder;
    const std::string top = fs::canonical(folder.path()).string();
};

}  // namespace

TEST_F(RealPlacesTest, LinksOnTheWayAreFollowedAndTheLastNameIsNot) {
    fs::create_directories(top + "/real/docs");
    fs::create_symlink("real", top + "/link");
    fs::create_symlink(top + "/link/../link", top + "/again");
    fs::create_symlink("docs", top + "/real/last");
    EXPECT_EQ(real("real/docs"), top + "/real/docs");
    EXPECT_EQ(real("link/docs"), top + "/real/docs");
    EXPECT_EQ(real("again/docs/deep"), top + "/real/docs/deep");
    EXPECT_EQ(real("link"), top + "/link");
    EXPECT_EQ(real("link/last"), top + "/real/last");
}

TEST_F(RealPlacesTest, WhatALinkLeadsToNeedNotBeThere) {
    fs::create_symlink(top + "/away/disk", top + "/link");
    EXPECT_EQ(real("link/docs"), top + "/away/disk/docs");
}

TEST_F(RealPlacesTest, ACircleOfLinksStaysWhatItIs) {
    fs::create_symlink("b", top + "/a");
    fs::create_symlink("a", top + "/b");
    EXPECT_EQ(real("a/x"), top + "/a/x");
}

TEST_F(RealPlacesTest, NamesAreThoseOfTheSetInBothDirections) {
    fs::create_symlink(top + "/real", top + "/link");
    const RealPlaces places({at("link/docs"), at("plain")});
    EXPECT_EQ(places.real(at("link/docs/a/b").text()), top + "/real/docs/a/b");
    EXPECT_EQ(places.named(at("link/docs"), top + "/real/docs/a/b"), top + "/link/docs/a/b");
    EXPECT_EQ(places.real(at("plain/x").text()), top + "/plain/x");
    EXPECT_EQ(places.named(at("plain"), top + "/plain/x"), top + "/plain/x");
    EXPECT_EQ(places.real(at("link/docsx").text()), top + "/link/docsx");
}

TEST_F(RealPlacesTest, VolumesAreThoseOfTheRealPlacesUnderTheNamesOfTheSet) {
    fs::create_symlink("/mnt", top + "/link");
    auto table = MountTable::parse(
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "21 20 8:2 / /mnt/disk rw - ext4 /dev/sdb1 rw\n"
        "22 21 8:3 / /mnt/disk/inner rw - ext4 /dev/sdc1 rw\n");
    ASSERT_TRUE(table.ok());
    const Path path = at("link/disk");
    auto plans = plan_volumes(
        *table, {{"one", {path}}}, [](const Mount& mount) { return mount.place; },
        [](const Path&) { return true; }, RealPlaces({path}));
    ASSERT_EQ(plans.size(), 2U);
    EXPECT_EQ(plans[0].mount.place, "/mnt/disk");
    EXPECT_EQ(plans[0].roots, std::vector<Path>{path});
    EXPECT_EQ(plans[1].mount.place, "/mnt/disk/inner");
    EXPECT_EQ(plans[1].roots, std::vector<Path>{at("link/disk/inner")});
}

}  // namespace backup
