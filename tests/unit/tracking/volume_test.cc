#include "daemon/tracking/volume.h"

#include <set>

#include <gtest/gtest.h>

namespace backup {

namespace {

Path path(const char* text) {
    return Path::parse(text).value();
}

// Two file systems, and which of the paths are directories.
struct VolumeTest : testing::Test {
    std::vector<VolumePlan> plan(const std::vector<SetPaths>& sets) {
        auto table = MountTable::parse(
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "21 20 8:2 / /home rw - ext4 /dev/sdb1 rw\n");
        EXPECT_TRUE(table.ok());
        return plan_volumes(
            *table, sets, [](const Mount& mount) { return mount.place; },
            [&](const Path& each) { return directories.contains(each.text()); });
    }
    static std::vector<std::string> roots(const VolumePlan& plan) {
        std::vector<std::string> texts;
        for (const Path& root : plan.roots) texts.push_back(root.text());
        return texts;
    }
    std::set<std::string> directories{"/", "/home", "/home/ada", "/home/ada/letters", "/srv"};
};

using Roots = std::vector<std::string>;

}  // namespace

TEST_F(VolumeTest, EachFileSystemHasTheDirectoriesOfAllSets) {
    auto plans =
        plan({{"one", {path("/home/ada/letters"), path("/srv")}}, {"two", {path("/home/ada")}}});
    ASSERT_EQ(plans.size(), 2U);
    EXPECT_EQ(roots(plans[0]), Roots({"/srv"}));
    EXPECT_EQ(plans[0].sets, std::set<std::string>({"one"}));
    EXPECT_EQ(roots(plans[1]), Roots({"/home/ada", "/home/ada/letters"}));
    EXPECT_EQ(plans[1].sets, std::set<std::string>({"one", "two"}));
}

TEST_F(VolumeTest, AFileIsWatchedByItsDirectory) {
    auto plans = plan({{"one", {path("/home/ada/letter")}, false}});
    ASSERT_EQ(plans.size(), 1U);
    EXPECT_EQ(roots(plans[0]), Roots({"/home/ada"}));
}

TEST_F(VolumeTest, APathThatIsNotThereIsWatchedFromWhereItWouldBegin) {
    auto plans = plan({{"one", {path("/home/ada/not/yet/there"), path("/home/ada")}, false}});
    ASSERT_EQ(plans.size(), 1U);
    EXPECT_EQ(roots(plans[0]), Roots({"/home/ada"}));
}

// A handle leads to one of them only.
TEST_F(VolumeTest, WhatIsSeenAtTwoPlacesIsTold) {
    auto table = MountTable::parse(
        "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "21 20 8:1 /data/photos /photos rw - ext4 /dev/sda1 rw\n"
        "22 20 0:30 /@home /home rw - btrfs /dev/sdb rw\n"
        "23 20 0:30 / /pool rw - btrfs /dev/sdb rw\n"
        "24 20 0:30 /@srv /srv rw - btrfs /dev/sdb rw\n");
    ASSERT_TRUE(table.ok());
    using Twofold = std::map<std::string, std::map<std::string, std::string>>;
    auto twofold = [&](const std::vector<SetPaths>& sets) {
        Twofold found;
        for (const VolumePlan& plan : plan_volumes(
                 *table, sets, [](const Mount& mount) { return mount.type + mount.root; },
                 [](const Path&) { return true; }))
            if (!plan.twofold.empty()) found[plan.id] = plan.twofold;
        return found;
    };
    EXPECT_EQ(twofold({{"one", {path("/data/letters"), path("/photos")}}}), Twofold());
    EXPECT_EQ(
        twofold(
            {{"one", {path("/data")}}, {"two", {path("/photos/old")}}, {"three", {path("/etc")}}}),
        (Twofold{{"ext4/", {{"one", "/data and /photos/old"}}},
                 {"ext4/data/photos", {{"two", "/photos/old and /data"}}}}));
    EXPECT_EQ(twofold({{"one", {path("/home"), path("/srv")}}}), Twofold());
    EXPECT_EQ(twofold({{"one", {path("/pool/@home/ada")}}, {"two", {path("/home")}}}),
              (Twofold{{"btrfs/", {{"one", "/pool/@home/ada and /home"}}},
                       {"btrfs/@home", {{"two", "/home and /pool/@home/ada"}}}}));
    SetPaths all{"one", {path("/")}};
    all.wants = [](const std::string& place) { return place == "/home"; };
    EXPECT_EQ(twofold({all}), Twofold()) << "what is excluded is not watched";
    EXPECT_EQ(twofold({{"one", {path("/")}, false}}), Twofold());
}

TEST_F(VolumeTest, APathThatIsNotThereIsNeverWatchedBeyondItsFileSystem) {
    directories.clear();
    auto plans = plan({{"one", {path("/home/not/there"), path("/not/there")}, false}});
    ASSERT_EQ(plans.size(), 2U);
    EXPECT_EQ(roots(plans[0]), Roots({"/"}));
    EXPECT_EQ(roots(plans[1]), Roots({"/home"}));
}

}  // namespace backup
