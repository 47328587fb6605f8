#include "ctl/limit_words.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

Arguments given(std::vector<std::pair<std::string, std::vector<std::string>>> options) {
    Arguments args;
    for (auto& [name, values] : options) args.add_option(name, std::move(values));
    return args;
}

TEST(LimitWords, SingleWordsChangeSingleLimits) {
    Dict config;
    limit_settings(given({{"--limit", {"items=5", "soft-bytes=1GiB"}}}), "bytes=2GiB items=3",
                   config);
    // The daemon takes the last of equal names.
    EXPECT_EQ(config.text("limits"), "bytes=2GiB items=3 items=5 soft-bytes=1GiB");
    limit_settings(given({{"--limit", {"none"}}}), "items=3", config);
    EXPECT_EQ(config.text("limits"), "none");
    limit_settings(given({{"--limit", {"items=5"}}}), "none", config);
    EXPECT_EQ(config.text("limits"), "items=5");
    Dict nothing;
    limit_settings(given({}), "items=3", nothing);
    EXPECT_TRUE(nothing.empty());
}

TEST(LimitWords, NoPresetIsAnEmptyList) {
    Dict config;
    limit_settings(given({{"--preset", {"none"}}}), "", config);
    EXPECT_TRUE(config.has("presets"));
    EXPECT_TRUE(config.texts("presets").empty());
    limit_settings(given({{"--preset", {"caches", "builds"}}}), "", config);
    EXPECT_EQ(config.texts("presets"), (std::vector<std::string>{"caches", "builds"}));
    EXPECT_EQ(limit_rows(config)[0].second, "caches, builds");
}

}  // namespace
}  // namespace backup
