#include "daemon/backend/layout.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(Layout, PacksLieInADirectoryOfTheirFirstTwoDigits) {
    FileId id;
    id.bytes[0] = 0xa7;
    id.bytes[31] = 0x01;
    std::string hex = id.hex();
    EXPECT_EQ(layout_path({FileType::pack, id}), "data/a7/" + hex);
    EXPECT_EQ(layout_path({FileType::key, id}), "keys/" + hex);
    EXPECT_EQ(layout_path({FileType::lock, id}), "locks/" + hex);
    EXPECT_EQ(layout_path({FileType::snapshot, id}), "snapshots/" + hex);
    EXPECT_EQ(layout_path({FileType::index, id}), "index/" + hex);
    EXPECT_EQ(layout_path({FileType::config, id}), "config");
}

TEST(Layout, OnlySixtyFourLowerCaseDigitsAreAName) {
    std::string hex(64, 'a');
    EXPECT_TRUE(layout_id(hex));
    EXPECT_FALSE(layout_id(hex + "0"));
    EXPECT_FALSE(layout_id(hex.substr(1)));
    EXPECT_FALSE(layout_id(std::string(64, 'A')));
    EXPECT_FALSE(layout_id(std::string(63, 'a') + "-"));
    EXPECT_FALSE(layout_id(""));
}

}  // namespace
}  // namespace backup
