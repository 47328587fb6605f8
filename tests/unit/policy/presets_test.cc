#include "daemon/policy/presets.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "daemon/policy/config_file.h"
#include "daemon/policy/matcher.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

using Texts = std::vector<std::string>;

std::string problems(const LoadedPolicy& loaded) {
    std::string all;
    for (const auto& problem : loaded.problems) all += problem.text() + "\n";
    return all;
}

class Layers : public testing::Test {
  protected:
    void put(const std::string& name, const std::string& text) {
        const std::filesystem::path path = folder_.path() + "/" + name;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text;
    }
    LoadedPolicy load() {
        return load_policy(folder_.path() + "/user",
                           folder_.path() + "/vendor:" + folder_.path() + "/admin");
    }
    TempDirectory folder_;
};

const char* const kSet =
    "repository = \"nas\"\npaths = [\"/home\"]\npresets = [\"caches\"]\nexclude = [\"*.o\"]\n";

}  // namespace

TEST(Presets, ThoseThatAreShippedCompileAndLeaveLookAlikesIn) {
    ASSERT_TRUE(shipped_presets().contains("caches"));
    for (const auto& [name, preset] : shipped_presets())
        EXPECT_TRUE(Matcher::compile(preset.exclude).ok()) << name;
    const Matcher caches = *Matcher::compile(shipped_presets().at("caches").exclude);
    EXPECT_TRUE(caches.excludes("/home/ada/.cache", ".cache", true));
    EXPECT_TRUE(caches.excludes("/home/ada/.local/share/Trash", "Trash", true));
    EXPECT_TRUE(caches.excludes("/mnt/usb/.Trash-1000", ".Trash-1000", true));
    for (const char* path : {"/home/ada/src/cache.js", "/home/ada/Trash-Can.mdl",
                             "/home/ada/notes/.cache-notes", "/home/ada/src/cache"}) {
        const std::string text = path;
        EXPECT_FALSE(caches.excludes(text, text.substr(text.rfind('/') + 1), false)) << path;
    }
}

TEST_F(Layers, PatternsOfAPresetStandBetweenTheDefaultsAndThoseOfTheSet) {
    put("user/backupd.toml",
        "[defaults]\nexclude = [\"*.tmp\"]\n[repository.nas]\nurl = \"/srv\"\n");
    put("user/sets.d/home.toml", kSet);
    const LoadedPolicy loaded = load();
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    const BackupSet& set = loaded.policy.sets.at("home");
    const auto& patterns = set.exclude.patterns;
    const auto& caches = shipped_presets().at("caches").exclude;
    ASSERT_EQ(patterns.size(), 2 + caches.size());
    EXPECT_EQ(patterns.front(), "*.tmp");
    EXPECT_EQ(patterns[1], caches[0]);
    EXPECT_EQ(patterns.back(), "*.o");
    EXPECT_EQ(set.exclude.inherited, 1 + caches.size());
    EXPECT_EQ(set.exclude.origins[1], "preset caches");
    EXPECT_EQ(set.exclude.origins.back(), folder_.path() + "/user/sets.d/home.toml:4");
    // Its own file names the preset and has its own patterns alone.
    const std::string text = format_set_config(set);
    EXPECT_NE(text.find("presets = [\"caches\"]"), std::string::npos) << text;
    EXPECT_EQ(text.find(".cache"), std::string::npos) << text;
    // As part of the whole the patterns are there, once.
    LoadedPolicy whole;
    parse_main_config(format_policy(loaded.policy), "f", whole);
    ASSERT_TRUE(whole.problems.empty()) << problems(whole);
    EXPECT_EQ(whole.policy.sets.at("home").exclude.patterns, patterns);
}

TEST_F(Layers, AdminOverridesVendorAndUserOverridesBothByName) {
    put("user/backupd.toml", "[repository.nas]\nurl = \"/srv\"\n");
    put("user/sets.d/home.toml", kSet);
    put("vendor/presets.d/caches.toml", "exclude = [\"vendor/\"]\n");
    EXPECT_EQ(load().policy.sets.at("home").exclude.patterns, (Texts{"vendor/", "*.o"}));
    put("admin/presets.d/caches.toml", "title = \"ours\"\nexclude = [\"admin/\"]\n");
    EXPECT_EQ(load().policy.sets.at("home").exclude.patterns, (Texts{"admin/", "*.o"}));
    put("user/presets.d/caches.toml", "exclude = [\"mine/\"]\n");
    const LoadedPolicy loaded = load();
    EXPECT_EQ(loaded.policy.sets.at("home").exclude.patterns, (Texts{"mine/", "*.o"}));
    EXPECT_EQ(loaded.policy.sets.at("home").exclude.origins[0],
              folder_.path() + "/user/presets.d/caches.toml:1");
    EXPECT_TRUE(loaded.policy.presets.contains("system"));
    // Settings of the main files likewise, key by key.
    put("vendor/backupd.toml", "[engine]\ncompression-level = 1\nread-threads = 3\n");
    put("admin/backupd.toml", "[engine]\ncompression-level = 2\n");
    EXPECT_EQ(load().policy.compression_level, 2);
    EXPECT_EQ(load().policy.read_threads, 3u);
}

TEST_F(Layers, WhatIsWrongIsNamedWithFileAndLine) {
    put("user/backupd.toml", "[repository.nas]\nurl = \"/srv\"\n");
    put("user/sets.d/home.toml",
        "repository = \"nas\"\npaths = [\"/home\"]\npresets = [\"cache\", "
        "\"caches\",\n\"caches\"]\n");
    put("user/presets.d/own.toml", "exclude = [\"a\", 5]\n");
    put("user/presets.d/none.toml", "title = \"nothing\"\n");
    put("user/presets.d/odd.toml", "exclude = []\nexcludes = []\n");
    const std::string all = problems(load());
    for (const char* words :
         {"home.toml:3: \"presets\": there is no preset \"cache\"; did you mean \"caches\"?",
          "home.toml:4: \"presets\": \"caches\" is listed twice",
          "own.toml:1: ", "none.toml: preset \"none\" has no \"exclude\"", "odd.toml:2: "})
        EXPECT_NE(all.find(words), std::string::npos) << words << "\n" << all;
}

}  // namespace backup
