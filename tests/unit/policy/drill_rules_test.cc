#include "daemon/policy/drill_rules.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(DrillRules, TextAndBack) {
    for (const char* text : {"default", "every=1d", "every=off files=5", "files=100 bytes=2GiB",
                             "every=1d12h bytes=1000"}) {
        auto rules = parse_drill_rules(text);
        ASSERT_TRUE(rules.ok()) << text;
        EXPECT_EQ(format_drill_rules(*rules), text);
    }
    EXPECT_EQ(*parse_drill_rules(""), DrillRules{});
    EXPECT_EQ(parse_drill_rules("off")->every_seconds, 0u);
    EXPECT_EQ(parse_drill_rules("off")->files, DrillRules{}.files);
}

TEST(DrillRules, BadWordsAreNamed) {
    for (const char* text : {"every", "every=often", "files=0", "files=-1", "files=100001",
                             "bytes=0", "bytes=much", "any=5"}) {
        auto rules = parse_drill_rules(text);
        ASSERT_FALSE(rules.ok()) << text;
        EXPECT_NE(rules.error().message().find(text), std::string::npos);
    }
}

}  // namespace
}  // namespace backup
