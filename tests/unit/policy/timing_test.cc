#include "daemon/policy/timing.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

LoadedPolicy set_of(const std::string& text) {
    LoadedPolicy loaded;
    parse_set_config("repository = \"nas\"\npaths = [\"/home/a\"]\n" + text,
                     "/etc/backupd/sets.d/home.toml", "home", loaded);
    return loaded;
}
LoadedPolicy main_of(const std::string& text) {
    LoadedPolicy loaded;
    parse_main_config(text, "/etc/backupd/backupd.toml", loaded);
    return loaded;
}
LoadedPolicy repository_of(const std::string& text) {
    LoadedPolicy loaded;
    parse_repository_config("url = \"/srv\"\n" + text, "/etc/backupd/repositories.d/nas.toml",
                            "nas", loaded);
    return loaded;
}
std::string problems(const LoadedPolicy& loaded) {
    std::string all;
    for (const auto& problem : loaded.problems) all += problem.text() + "\n";
    return all;
}

struct Wrong {
    const char* text;
    unsigned line;
    const char* words;
};

TEST(Timing, EveryKeyOfASetIsReadAndComesBackFromItsText) {
    const auto loaded = set_of(
        "windows = [\"Mon..Fri 22:00-06:00\", \"Sat,Sun at 2MiB/s\"]\njitter = \"1h\"\n"
        "max-deferral = \"2d\"\navoid = [\"battery\", \"power-saver\"]\n"
        "upload-rate = \"3MiB/s\"\ndownload-rate = 1000\npriority = 80\n[hooks]\n"
        "before = [\"/bin/a\", \"b c\"]\nafter = [\"/bin/d\"]\ntimeout = \"1min\"\n"
        "must-succeed = false\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    const BackupSet& set = loaded.policy.sets.at("home");
    EXPECT_EQ(format_windows(set.windows),
              (std::vector<std::string>{"Mon..Fri 22:00-06:00", "Sat,Sun at 2MiB/s"}));
    EXPECT_EQ(set.jitter_seconds, 3600u);
    EXPECT_EQ(set.max_deferral_seconds, 2 * 86'400u);
    EXPECT_EQ(*set.avoid, (std::vector<std::string>{"battery", "power-saver"}));
    EXPECT_EQ(set.upload_rate, 3u << 20);
    EXPECT_EQ(set.download_rate, 1000u);
    EXPECT_EQ(set.priority, 80u);
    EXPECT_EQ(set.hooks.before, (std::vector<std::string>{"/bin/a", "b c"}));
    EXPECT_EQ(set.hooks.timeout_seconds, 60u);
    EXPECT_FALSE(set.hooks.must_succeed);

    LoadedPolicy again;
    parse_set_config(format_set_config(set), "f", "home", again);
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    const BackupSet& same = again.policy.sets.at("home");
    EXPECT_EQ(same.windows, set.windows);
    EXPECT_EQ(same.jitter_seconds, set.jitter_seconds);
    EXPECT_EQ(same.max_deferral_seconds, set.max_deferral_seconds);
    EXPECT_EQ(same.avoid, set.avoid);
    EXPECT_EQ(same.upload_rate, set.upload_rate);
    EXPECT_EQ(same.download_rate, set.download_rate);
    EXPECT_EQ(same.priority, set.priority);
    EXPECT_EQ(same.hooks, set.hooks);
    // And as a part of the whole.
    LoadedPolicy whole;
    parse_main_config(format_policy(loaded.policy) + "\n[repository.nas]\nurl = \"/srv\"\n", "f",
                      whole);
    ASSERT_TRUE(whole.problems.empty()) << problems(whole);
    EXPECT_EQ(whole.policy.sets.at("home").windows, set.windows);
    EXPECT_EQ(whole.policy.sets.at("home").hooks, set.hooks);
}

TEST(Timing, DefaultsAreThoseOfTheStructAndAnEmptyListIsOne) {
    const BackupSet plain;
    const BackupSet set = set_of("").policy.sets.at("home");
    EXPECT_TRUE(set.windows.empty());
    EXPECT_FALSE(set.jitter_seconds);
    EXPECT_FALSE(set.avoid);
    EXPECT_EQ(set.max_deferral_seconds, plain.max_deferral_seconds);
    const BackupSet none = set_of("avoid = []\njitter = \"off\"\n").policy.sets.at("home");
    ASSERT_TRUE(none.avoid);
    EXPECT_TRUE(none.avoid->empty());
    EXPECT_EQ(none.jitter_seconds, 0u);
}

TEST(Timing, WhatIsWrongIsNamedWithItsLine) {
    for (const Wrong& wrong : {
             Wrong{"windows = [\"Mon..Fri 22:00-06:00\",\n\"Mon 25:00-26:00\"]\n", 4, "25:00"},
             Wrong{"windows = \"daily\"\n", 3, "windows"},
             Wrong{"jitter = true\n", 3, "jitter"},
             Wrong{"max-deferral = \"soon\"\n", 3, "max-deferral"},
             Wrong{"avoid = [\"batery\"]\n", 3, "did you mean \"battery\""},
             Wrong{"upload-rate = \"fast\"\n", 3, "upload-rate"},
             Wrong{"download-rate = -1\n", 3, "download-rate"},
             Wrong{"priority = 101\n", 3, "priority"},
             Wrong{"window = []\n", 3, "windows"},
             Wrong{"[hooks]\nbefore = [\"mail\"]\n", 4, "absolute path"},
             Wrong{"[hooks]\nafter = \"/bin/sh -c x\"\n", 4, "after"},
             Wrong{"[hooks]\ntimeout = \"off\"\n", 4, "timeout"},
             Wrong{"[hooks]\nmust-succeed = 1\n", 4, "must-succeed"},
             Wrong{"[hooks]\nbeforr = []\n", 4, "before"},
         }) {
        const auto loaded = set_of(wrong.text);
        ASSERT_EQ(loaded.problems.size(), 1u) << wrong.text << problems(loaded);
        EXPECT_EQ(loaded.problems[0].line, wrong.line) << problems(loaded);
        EXPECT_NE(loaded.problems[0].message.find(wrong.words), std::string::npos)
            << problems(loaded);
    }
}

TEST(Timing, TablesOfTheServiceAreReadAndComeBack) {
    const auto loaded = main_of(
        "[rates]\nupload = \"20MiB/s\"\ndownload = \"off\"\n[conditions]\npressure = 60\n"
        "[health]\ncommand = [\"/bin/tell\", \"me\"]\n[metrics]\ntextfile = \"/var/a.prom\"\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    EXPECT_EQ(loaded.policy.upload_rate, 20u << 20);
    EXPECT_EQ(loaded.policy.download_rate, 0u);
    EXPECT_EQ(loaded.policy.pressure_percent, 60u);
    const auto again = main_of(format_policy(loaded.policy));
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    EXPECT_EQ(again.policy.upload_rate, loaded.policy.upload_rate);
    EXPECT_EQ(again.policy.pressure_percent, 60u);
    EXPECT_EQ(again.policy.health_command, (std::vector<std::string>{"/bin/tell", "me"}));
    EXPECT_EQ(again.policy.metrics_file, "/var/a.prom");
    for (const Wrong& wrong :
         {Wrong{"[rates]\nup = 1\n", 2, "upload"}, Wrong{"[rates]\nupload = \"x\"\n", 2, "upload"},
          Wrong{"[conditions]\npressure = 0\n", 2, "pressure"},
          Wrong{"[health]\ncommand = [\"mail\"]\n", 2, "absolute path"},
          Wrong{"[metrics]\ntextfile = \"/var/a.txt\"\n", 2, ".prom"}}) {
        const auto bad = main_of(wrong.text);
        ASSERT_EQ(bad.problems.size(), 1u) << wrong.text << problems(bad);
        EXPECT_EQ(bad.problems[0].line, wrong.line);
        EXPECT_NE(bad.problems[0].message.find(wrong.words), std::string::npos) << problems(bad);
    }
}

TEST(Timing, RepositoriesHaveWindowsAndVerifications) {
    const auto loaded =
        repository_of("windows = [\"Sat,Sun\"]\nverify = \"30d\"\nverify-data = 10\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    const RepositoryPolicy& nas = loaded.policy.repositories.at("nas");
    EXPECT_EQ(nas.verify_seconds, 30 * 86'400u);
    EXPECT_EQ(nas.verify_percent, 10u);
    LoadedPolicy again;
    parse_repository_config(format_repository_config(nas), "f", "nas", again);
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    EXPECT_EQ(again.policy.repositories.at("nas").windows, nas.windows);
    EXPECT_EQ(again.policy.repositories.at("nas").verify_seconds, nas.verify_seconds);
    EXPECT_EQ(again.policy.repositories.at("nas").verify_percent, 10u);
    EXPECT_EQ(repository_of("verify-data = 101\n").problems.size(), 1u);
}

TEST(Timing, TextsOfTheBusComeBackAsTheyWere) {
    EXPECT_EQ(format_jitter(*parse_jitter("window")), "window");
    EXPECT_EQ(format_jitter(*parse_jitter("off")), "off");
    EXPECT_EQ(format_jitter(*parse_jitter("90min")), "1h 30min");
    EXPECT_FALSE(parse_jitter("soon").ok());
    using Words = std::vector<std::string>;
    for (const Words& words : {Words{"default"}, Words{"none"}, Words{"battery", "metered"}})
        EXPECT_EQ(format_avoid(*parse_avoid(words)), words);
    EXPECT_FALSE(parse_avoid({"rain"}).ok());
    EXPECT_FALSE(parse_windows({"daily", "never"}).ok());
}

}  // namespace
}  // namespace backup
