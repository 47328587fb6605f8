#include "daemon/policy/guard_rules.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(GuardRules, TextAndBack) {
    for (const char* text : {"default", "gone=80", "gone=off removed=10 least=5", "changed=99",
                             "gone=off removed=off changed=off opaque=off"}) {
        auto rules = parse_guard_rules(text);
        ASSERT_TRUE(rules.ok()) << text;
        EXPECT_EQ(format_guard_rules(*rules), text);
    }
    EXPECT_EQ(*parse_guard_rules(""), GuardRules{});
    EXPECT_EQ(parse_guard_rules("off")->gone, 0u);
}

TEST(GuardRules, BadWordsAreNamed) {
    for (const char* text : {"gone", "gone=101", "gone=-1", "gone=5%", "least=off", "any=5"}) {
        auto rules = parse_guard_rules(text);
        ASSERT_FALSE(rules.ok()) << text;
        EXPECT_NE(rules.error().message().find(text), std::string::npos);
    }
}

}  // namespace
}  // namespace backup
