#include "common/path.h"

#include <gtest/gtest.h>

namespace backup {

TEST(Path, IsNormalised) {
    EXPECT_EQ(Path::parse("//a/./b//c/")->text(), "/a/b/c");
    EXPECT_EQ(Path::parse("/")->text(), "/");
    EXPECT_TRUE(Path::parse("///")->is_root());
}

TEST(Path, RefusesRelativeDotDotAndNul) {
    EXPECT_FALSE(Path::parse("").ok());
    EXPECT_FALSE(Path::parse("a/b").ok());
    EXPECT_FALSE(Path::parse("/a/../b").ok());
    EXPECT_FALSE(Path::parse(std::string_view("/a\0b", 4)).ok());
    EXPECT_TRUE(Path::parse("/a/..b/...").ok());
}

TEST(Path, InsideIsByComponentNotByPrefix) {
    Path home = *Path::parse("/home/a");
    EXPECT_TRUE(Path::parse("/home/a/x")->is_inside(home));
    EXPECT_TRUE(home.is_inside(home));
    EXPECT_FALSE(Path::parse("/home/ab")->is_inside(home));
    EXPECT_TRUE(home.is_inside(Path()));
}

TEST(Path, PartsAndParents) {
    Path path = *Path::parse("/a/bc/d");
    EXPECT_EQ(path.name(), "d");
    EXPECT_EQ(path.parent().text(), "/a/bc");
    EXPECT_EQ(Path().parent(), Path());
    EXPECT_EQ(path.components(), (std::vector<std::string_view>{"a", "bc", "d"}));
    EXPECT_TRUE(Path().components().empty());
    EXPECT_EQ(Path().child("x").text(), "/x");
}

TEST(Path, PrintableTextCannotSteerATerminal) {
    EXPECT_EQ(printable("a\x1b[31m\n"), "a\\x1b[31m\\x0a");
    EXPECT_EQ(printable("b\xff\xc3\xa4"), "b\\xff\xc3\xa4");
    EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");
}

}  // namespace backup
