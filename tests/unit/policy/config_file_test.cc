#include "daemon/policy/config_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace backup {
namespace {

namespace fs = std::filesystem;

LoadedPolicy main_of(const std::string& text) {
    LoadedPolicy loaded;
    parse_main_config(text, "/etc/backupd/backupd.toml", loaded);
    return loaded;
}
LoadedPolicy set_of(const std::string& text, const std::string& name = "home") {
    LoadedPolicy loaded;
    parse_set_config(text, "/etc/backupd/sets.d/" + name + ".toml", name, loaded);
    return loaded;
}
LoadedPolicy repository_of(const std::string& text, const std::string& name = "nas") {
    LoadedPolicy loaded;
    parse_repository_config(text, "/etc/backupd/repositories.d/" + name + ".toml", name, loaded);
    return loaded;
}
std::string problems(const LoadedPolicy& loaded) {
    std::string all;
    for (const auto& problem : loaded.problems) all += problem.text() + "\n";
    return all;
}
// Exactly one problem, at this line, with these words.
void expect_problem(const LoadedPolicy& loaded, unsigned line,
                    const std::vector<std::string>& words) {
    ASSERT_EQ(loaded.problems.size(), 1u) << problems(loaded);
    EXPECT_EQ(loaded.problems[0].line, line) << problems(loaded);
    for (const std::string& word : words) {
        EXPECT_NE(loaded.problems[0].message.find(word), std::string::npos)
            << word << " in " << problems(loaded);
    }
}
const std::string kSet = "repository = \"nas\"\npaths = [\"/home/a\"]\n";

TEST(Config, EveryKeyIsRead) {
    const auto loaded = main_of(R"(
[repository.nas]
url = "/srv/backup"
password-file = "/etc/backupd/secrets/nas"

[defaults]
exclude = ["*.tmp"]
cachedir-tag = false
nodump = false

[engine]
read-threads = 4
compression-level = 7
pack-size = "32MiB"
tree-rules = "go119"

[tracking]
watch = ["inotify", "scan"]
census-period = "30s"
scrub-period = "off"
scrub-content-percent = 5
canary-period = 5
degraded-scan-period = "1h"
most-watches = 5000
)");
    EXPECT_EQ(problems(loaded), "");
    EXPECT_EQ(loaded.policy.repositories.at("nas").url, "/srv/backup");
    EXPECT_EQ(loaded.policy.repositories.at("nas").password_file, "/etc/backupd/secrets/nas");
    EXPECT_EQ(loaded.policy.repositories.at("nas").origin, "/etc/backupd/backupd.toml:2");
    EXPECT_EQ(loaded.policy.read_threads, 4u);
    EXPECT_EQ(loaded.policy.compression_level, 7);
    EXPECT_EQ(loaded.policy.pack_bytes, 32u << 20);
    EXPECT_EQ(loaded.policy.tree_rules, "go119");
    const TrackingPolicy& tracking = loaded.policy.tracking;
    EXPECT_EQ(tracking.watching, (std::vector<std::string>{"inotify", "scan"}));
    EXPECT_EQ(tracking.census_period, std::chrono::seconds(30));
    EXPECT_EQ(tracking.scrub_period, Duration::zero());
    EXPECT_EQ(tracking.scrub_content_percent, 5u);
    EXPECT_EQ(tracking.canary_period, std::chrono::seconds(5));
    EXPECT_EQ(tracking.degraded_scan_period, std::chrono::hours(1));
    EXPECT_EQ(tracking.most_watches, 5000u);

    const auto set = set_of(R"(
title = "Home"
repository = "nas"
paths = ["/home/a/", "/etc"]
exclude = ["*.o", "!keep.o"]
cachedir-tag = false
nodump = false
one-file-system = true
larger-than = "4GiB"
enabled = false
hostname = "laptop"
interval = "1h"
automatic = false
settle = "500ms"
min-interval = "0"
)");
    EXPECT_EQ(problems(set), "");
    const BackupSet& home = set.policy.sets.at("home");
    EXPECT_EQ(home.id, "home");
    EXPECT_EQ(home.title, "Home");
    EXPECT_EQ(home.repository, "nas");
    ASSERT_EQ(home.paths.size(), 2u);
    EXPECT_EQ(home.paths[0].text(), "/home/a");
    EXPECT_EQ(home.exclude.patterns, (std::vector<std::string>{"*.o", "!keep.o"}));
    EXPECT_FALSE(home.exclude.cachedir_tag);
    EXPECT_FALSE(home.exclude.nodump);
    EXPECT_TRUE(home.exclude.other_filesystems);
    EXPECT_EQ(home.exclude.larger_than, std::uint64_t{4} << 30);
    EXPECT_FALSE(home.enabled);
    EXPECT_EQ(home.hostname, "laptop");
    EXPECT_EQ(home.interval_seconds, 3600u);
    EXPECT_FALSE(home.automatic);
    EXPECT_EQ(home.settle_ms, 500u);
    EXPECT_EQ(home.min_interval_seconds, 0u);

    const auto repository = repository_of("url = \"local:/x\"\n");
    EXPECT_EQ(problems(repository), "");
    EXPECT_EQ(repository.policy.repositories.at("nas").url, "local:/x");
}

TEST(Config, DefaultsAreThoseOfTheStructs) {
    const auto loaded = set_of(kSet);
    EXPECT_EQ(problems(loaded), "");
    const BackupSet& home = loaded.policy.sets.at("home");
    EXPECT_TRUE(home.exclude.cachedir_tag && home.exclude.nodump && home.enabled);
    EXPECT_FALSE(home.exclude.other_filesystems);
    EXPECT_EQ(home.interval_seconds, 0u);
    EXPECT_TRUE(home.automatic);
    EXPECT_EQ(home.settle_ms, 2000u);
    EXPECT_EQ(home.min_interval_seconds, 900u);
    EXPECT_EQ(problems(main_of("")), "");
    EXPECT_EQ(main_of("[tracking]\n").policy.tracking, TrackingPolicy());
}

TEST(Config, UnknownKeysNameTheNearestOne) {
    expect_problem(set_of(kSet + "exlude = [\"*.o\"]\n"), 3, {"exlude", "\"exclude\""});
    expect_problem(set_of(kSet + "larger_than = 5\n"), 3, {"larger_than", "\"larger-than\""});
    expect_problem(set_of(kSet + "x = 5\n"), 3, {"\"x\"", "known are", "interval"});
    const auto known = set_of(kSet + "x = 5\n").problems.at(0).message;
    EXPECT_EQ(known.find("settle,"), known.rfind("settle,")) << "twice: " << known;
    expect_problem(main_of("nonsense = true\n"), 1, {"nonsense"});
    expect_problem(main_of("[engin]\n"), 1, {"engin", "\"engine\""});
    expect_problem(main_of("\n[engine]\nread-thread = 1\n"), 3,
                   {"read-thread", "[engine]", "\"read-threads\""});
    expect_problem(main_of("[repository.a]\nurl = \"/x\"\nurll = \"/x\"\n"), 3,
                   {"urll", "[repository.a]", "\"url\""});
    const auto loaded = repository_of("urll = \"/x\"\n");
    ASSERT_EQ(loaded.problems.size(), 2u) << "and there is no url";
    EXPECT_EQ(loaded.problems[1].line, 1u);
}

TEST(Config, WrongTypesAreNamedWithTheirLine) {
    expect_problem(set_of("repository = \"nas\"\npaths = \"/x\"\n"), 2,
                   {"paths", "list", "a text"});
    expect_problem(set_of("repository = \"nas\"\npaths = [1]\n"), 2, {"paths", "a whole number"});
    expect_problem(set_of("repository = \"nas\"\npaths = [\n\"/a\",\n7]\n"), 4,
                   {"paths", "a whole number"});
    expect_problem(set_of("paths = [\"/x\"]\nrepository = 5\n"), 2, {"repository", "a text"});
    expect_problem(set_of(kSet + "enabled = \"yes\"\n"), 3, {"enabled", "true or false"});
    expect_problem(set_of(kSet + "larger-than = true\n"), 3, {"larger-than", "size"});
    expect_problem(set_of(kSet + "larger-than = -5\n"), 3, {"larger-than"});
    expect_problem(set_of(kSet + "larger-than = \"16 blocks\"\n"), 3, {"larger-than", "16 blocks"});
    expect_problem(set_of(kSet + "interval = \"soon\"\n"), 3, {"interval", "soon"});
    expect_problem(set_of(kSet + "interval = 1.5\n"), 3, {"interval", "fraction"});
    expect_problem(repository_of("url = 5\n"), 1, {"url", "a text"});
    expect_problem(main_of("repository = 5\n"), 1, {"repository", "a table"});
    expect_problem(main_of("[repository]\nnas = 5\n"), 2, {"repository", "[repository.NAME]"});
    expect_problem(main_of("[[repository]]\n"), 1, {"repository", "a list"});
    expect_problem(main_of("[engine]\nread-threads = \"4\"\n"), 2, {"read-threads"});
    expect_problem(main_of("[engine]\nread-threads = 1000\n"), 2, {"read-threads", "256"});
    expect_problem(main_of("[engine]\ncompression-level = 0\n"), 2, {"compression-level"});
    expect_problem(main_of("[engine]\npack-size = \"1MiB\"\n"), 2, {"pack-size", "4MiB"});
    expect_problem(main_of("[engine]\ntree-rules = \"go1\"\n"), 2, {"tree-rules", "go122"});
    expect_problem(set_of(kSet + "settle = \"soon\"\n"), 3, {"settle", "soon", "500ms"});
    expect_problem(set_of(kSet + "settle = \"2h\"\n"), 3, {"settle", "1h"});
    expect_problem(set_of(kSet + "settle = 4000\n"), 3, {"settle", "1h"});
    expect_problem(set_of(kSet + "settle = -1\n"), 3, {"settle"});
    expect_problem(set_of(kSet + "settle = true\n"), 3, {"settle", "a time"});
    expect_problem(set_of(kSet + "min-interval = \"now\"\n"), 3, {"min-interval", "now"});
    expect_problem(set_of(kSet + "automatic = 1\n"), 3, {"automatic", "true or false"});
    expect_problem(set_of(kSet + "settel = 1\n"), 3, {"settel", "\"settle\""});
}

TEST(Config, BadWordsAboutTrackingAreNamedWithTheirLine) {
    expect_problem(main_of("[tracking]\nwatch = \"fanotify\"\n"), 2, {"watch", "list"});
    expect_problem(main_of("[tracking]\nwatch = []\n"), 2, {"watch", "at least one"});
    expect_problem(main_of("[tracking]\nwatch = [\n\"scan\",\n\"fanotfy\"]\n"), 4,
                   {"fanotfy", "did you mean \"fanotify\""});
    expect_problem(main_of("[tracking]\nwatch = [\"kqueue\"]\n"), 2, {"kqueue", "known are"});
    expect_problem(main_of("[tracking]\nwatch = [\"scan\", \"scan\"]\n"), 2, {"scan", "twice"});
    expect_problem(main_of("[tracking]\nscrub-period = \"daily\"\n"), 2, {"scrub-period", "daily"});
    expect_problem(main_of("[tracking]\nmost-watches = -1\n"), 2, {"most-watches"});
    expect_problem(main_of("[tracking]\ncensus = 1\n"), 2, {"census", "[tracking]"});
    expect_problem(main_of("[traking]\n"), 1, {"traking", "\"tracking\""});
    expect_problem(main_of("tracking = 5\n"), 1, {"tracking", "a table"});
}

TEST(Config, SetsAreCheckedAsAWhole) {
    expect_problem(set_of("repository = \"nas\"\n"), 0, {"home", "paths"});
    expect_problem(set_of("repository = \"nas\"\npaths = []\n"), 2, {"paths"});
    expect_problem(set_of("repository = \"nas\"\npaths = [\n  \"/a\",\n  \"relative/dir\",\n]\n"),
                   4, {"relative/dir"});
    expect_problem(set_of("repository = \"nas\"\npaths = [\"/a/../b\"]\n"), 2, {"paths"});
    expect_problem(set_of("repository = \"nas\"\npaths = [\"/a\", \"/a/\"]\n"), 2, {"/a", "twice"});
    expect_problem(set_of("paths = [\"/a\"]\n"), 0, {"repository"});
    expect_problem(set_of(kSet + "exclude = [\"*.o\",\n\"[a\"]\n"), 4, {"exclude", "[a"});
    expect_problem(set_of(kSet, "bad name"), 0, {"bad name"});
    expect_problem(set_of(kSet, ".hidden"), 0, {".hidden"});
}

TEST(Config, RepositoriesMustExist) {
    auto loaded = set_of(kSet);
    check_policy(loaded);
    expect_problem(loaded, 1, {"home", "nas", "none is configured"});
    LoadedPolicy near;
    parse_repository_config("url = \"/x\"\n", "/c/repositories.d/main.toml", "main", near);
    parse_set_config("paths = [\"/a\"]\nrepository = \"mian\"\n", "/c/sets.d/s.toml", "s", near);
    check_policy(near);
    expect_problem(near, 2, {"mian", "did you mean \"main\""});
    EXPECT_EQ(near.problems[0].file, "/c/sets.d/s.toml");
}

TEST(Config, UrlsHaveAKnownForm) {
    for (const char* url :
         {"/x", "local:/x", "file:///x", "sftp:user@host:/path", "sftp://host//abs",
          "s3:https://h/b", "s3:h/b", "rest:https://h/", "rclone:remote:path"}) {
        EXPECT_EQ(problems(repository_of("url = \"" + std::string(url) + "\"\n")), "") << url;
    }
    expect_problem(repository_of("\nurl = \"gopher://x\"\n"), 2, {"gopher"});
    expect_problem(repository_of("url = \"relative\"\n"), 1, {"absolute"});
    expect_problem(repository_of("url = \"local:relative\"\n"), 1, {"absolute"});
    expect_problem(repository_of("url = \"https://h/x\"\n"), 1, {"rest:https"});
    expect_problem(repository_of("url = \"\"\n"), 1, {"empty"});
    expect_problem(repository_of("url = \"/x\"\npassword-file = \"secret\"\n"), 2,
                   {"password-file", "absolute"});
    const auto secret = repository_of("url = \"gopher://user:hunter2@x\"\n");
    EXPECT_EQ(problems(secret).find("hunter2"), std::string::npos) << "a URL may hold a password";
}

TEST(Config, DefaultsAreTakenOverBySets) {
    LoadedPolicy loaded;
    parse_main_config("[defaults]\nexclude = [\"*.tmp\"]\nnodump = false\n", "/c/backupd.toml",
                      loaded);
    parse_set_config(kSet + "exclude = [\"!keep.tmp\"]\n", "/c/sets.d/home.toml", "home", loaded);
    parse_set_config(kSet + "nodump = true\n", "/c/sets.d/other.toml", "other", loaded);
    EXPECT_EQ(problems(loaded), "");
    const ExcludeRules& home = loaded.policy.sets.at("home").exclude;
    EXPECT_EQ(home.patterns, (std::vector<std::string>{"*.tmp", "!keep.tmp"}));
    EXPECT_EQ(home.origins,
              (std::vector<std::string>{"/c/backupd.toml:2", "/c/sets.d/home.toml:3"}));
    EXPECT_EQ(home.inherited, 1u);
    EXPECT_FALSE(home.nodump);
    EXPECT_TRUE(loaded.policy.sets.at("other").exclude.nodump);
    // What is inherited is not written into the set's own file.
    EXPECT_EQ(format_set_config(loaded.policy.sets.at("home")).find("\"*.tmp\""),
              std::string::npos);
}

bool same(const BackupSet& a, const BackupSet& b) {
    return a.id == b.id && a.title == b.title && a.paths == b.paths &&
           a.repository == b.repository && a.exclude.patterns == b.exclude.patterns &&
           a.exclude.cachedir_tag == b.exclude.cachedir_tag &&
           a.exclude.nodump == b.exclude.nodump &&
           a.exclude.other_filesystems == b.exclude.other_filesystems &&
           a.exclude.larger_than == b.exclude.larger_than && a.enabled == b.enabled &&
           a.hostname == b.hostname && a.interval_seconds == b.interval_seconds &&
           a.automatic == b.automatic && a.settle_ms == b.settle_ms &&
           a.min_interval_seconds == b.min_interval_seconds;
}

TEST(Config, FormattedTextComesBackAsTheSameValues) {
    std::mt19937_64 random(9);
    const std::vector<std::string> texts = {
        "plain",    "quote\"d",     "back\\slash", "new\nline",        "tab\t", "\x01\x7f",
        "\xc3\xa4", "# no comment", "'single'",    "\xff\xfe no text", "[x]",   "a = b"};
    const auto text = [&] { return texts[random() % texts.size()]; };
    const auto utf8 = [&] { return texts[random() % 9]; };
    for (int round = 0; round < 200; ++round) {
        BackupSet set;
        set.id = "home";
        set.title = utf8();
        set.repository = utf8();
        for (auto n = 1 + random() % 3; set.paths.size() < n;) {
            set.paths.push_back(
                Path::parse("/p" + std::to_string(set.paths.size()) + text()).value());
        }
        for (auto n = random() % 3; n > 0; --n)
            set.exclude.patterns.push_back("x" + std::string(random() % 2 ? "*.o" : "\xff"));
        set.exclude.cachedir_tag = random() % 2;
        set.exclude.nodump = random() % 2;
        set.exclude.other_filesystems = random() % 2;
        set.exclude.larger_than = random() % 2 ? random() >> 20 : 0;
        set.enabled = random() % 2;
        set.hostname = random() % 2 ? "host" : "";
        set.interval_seconds = random() % 2 ? random() % 100000 : 0;
        set.automatic = random() % 2;
        if (random() % 2) set.settle_ms = random() % 3'600'001;
        if (random() % 2) set.min_interval_seconds = random() % 3 == 0 ? 0 : random() % 100000;
        const std::string formatted = format_set_config(set);
        const auto loaded = set_of(formatted);
        ASSERT_EQ(problems(loaded), "") << formatted;
        ASSERT_TRUE(same(loaded.policy.sets.at("home"), set)) << formatted;

        RepositoryPolicy repository{.name = "nas",
                                    .url = "/x" + utf8(),
                                    .password_file = random() % 2 ? "/p" : "",
                                    .origin = ""};
        const auto again = repository_of(format_repository_config(repository));
        ASSERT_EQ(problems(again), "") << format_repository_config(repository);
        EXPECT_EQ(again.policy.repositories.at("nas").url, repository.url);
        EXPECT_EQ(again.policy.repositories.at("nas").password_file, repository.password_file);

        Policy policy;
        policy.read_threads = static_cast<unsigned>(random() % 9);
        policy.pack_bytes = std::uint64_t{8} << 20;
        policy.tracking.scrub_period = std::chrono::seconds(random() % 100000);
        policy.tracking.scrub_content_percent = static_cast<unsigned>(random() % 101);
        policy.tracking.canary_period = std::chrono::seconds(random() % 2);
        policy.tracking.most_watches = random() % 3;
        if (random() % 2) policy.tracking.watching = {"scan", "inotify"};
        policy.repositories["a.b"] = repository;
        policy.sets["home"] = set;
        const auto whole = main_of(format_policy(policy));
        ASSERT_EQ(problems(whole), "") << format_policy(policy);
        EXPECT_TRUE(same(whole.policy.sets.at("home"), set)) << format_policy(policy);
        EXPECT_EQ(whole.policy.repositories.at("a.b").url, repository.url);
        EXPECT_EQ(whole.policy.read_threads, policy.read_threads);
        EXPECT_EQ(whole.policy.tracking, policy.tracking);
        EXPECT_EQ(whole.policy.pack_bytes, policy.pack_bytes);
    }
}

TEST(Config, BrokenTomlIsAProblemWithItsLine) {
    expect_problem(set_of("repository = \"nas\"\npaths = [\n"), 2, {"array"});
    expect_problem(main_of("\n\n= 3\n"), 3, {});
    expect_problem(main_of("a = 1\na = 2\n"), 2, {});
    expect_problem(main_of("\n[\nurl = 1\n"), 2, {"[", "name"});
    expect_problem(main_of("[[\n"), 1, {"[", "name"});
    expect_problem(main_of("\n\xc3\xa4 = 1\n"), 2, {"ASCII"});
    EXPECT_EQ(problems(main_of("\xef\xbb\xbf# \xc3\xa4 [\n[engine] # \xff \n")).find("ASCII"),
              std::string::npos);
    // None of this is mistaken for structure.
    const auto quoted =
        set_of(kSet + "exclude = [\"\xc3\xa4 # [x]\", '[a]b', \"\\\\[\"]\ntitle = '\xc3\xa4\\'\n");
    EXPECT_EQ(problems(quoted), "");
    expect_problem(set_of(kSet + "title = \"\"\"a\nb\"\"\"\n"), 3, {"several lines"});
    expect_problem(set_of(kSet + "title = 1'\xef\xbb\xbb'\n"), 3, {"quote"});
    expect_problem(set_of(kSet + "title = 1.'\xef\xbb\xbb'\n"), 3, {"not ASCII"});
    expect_problem(set_of(kSet + "title = \xef\xbb\xbb\n"), 3, {"outside of quotes"});
    EXPECT_EQ(main_of(std::string("\xff\xfe\0binary", 9)).problems.size(), 1u);
    EXPECT_EQ(main_of(std::string(2 << 20, '#')).problems.size(), 1u);
}

TEST(Config, DeepNestingDoesNotEndTheProcess) {
    const auto repeated = [](const std::string& part, int times) {
        std::string text;
        for (int i = 0; i < times; ++i) text += part;
        return text;
    };
    for (const std::string& text :
         {repeated("a.", 200000) + "a = 1", "[" + repeated("a.", 200000) + "a]",
          "[" + repeated("\"a\" . ", 100000) + "a]", "a = " + repeated("[", 200000),
          "a = " + repeated("[", 200000) + repeated("]", 200000), "a = " + repeated("{b=", 200000),
          "a = {" + repeated("b.", 200000) + "b=1}"}) {
        EXPECT_FALSE(main_of(text).problems.empty());
    }
}

TEST(Config, DamagedTextNeverCrashes) {
    const std::string whole =
        "[engine]\nread-threads = 2\n[repository.\"a\"]\nurl = \"/x\"\n[set.x]\nrepository = "
        "'a'\n" +
        std::string("paths = [\"/a\", {base64 = \"L3g=\"}]\ninterval = \"1h\"\n");
    ASSERT_EQ(problems(main_of(whole)), "");
    std::mt19937 random(6);
    const std::string bytes =
        "[]{}=\"'.,#\\\n \x01\xff"
        "a1";
    for (int i = 0; i < 5000; ++i) {
        std::string text = whole;
        for (auto n = 1 + random() % 4; n > 0; --n) {
            const auto at = random() % text.size();
            if (random() % 2) {
                text[at] = bytes[random() % bytes.size()];
            } else {
                text.erase(at, random() % 8);
            }
            if (text.empty()) break;
        }
        auto loaded = main_of(text);
        check_policy(loaded);
    }
}

class ConfigFolders : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/config-test-XXXXXX";
        root_ = ::mkdtemp(name);
    }
    void TearDown() override { fs::remove_all(root_); }
    void put(const std::string& name, const std::string& text) {
        fs::create_directories((root_ / name).parent_path());
        std::ofstream(root_ / name) << text;
    }
    LoadedPolicy load() { return load_policy(root_ / "etc", root_ / "usr"); }
    fs::path root_;
};

TEST_F(ConfigFolders, NothingThereIsAnEmptyPolicy) {
    const auto loaded = load();
    EXPECT_EQ(problems(loaded), "");
    EXPECT_TRUE(loaded.policy.sets.empty());
}

TEST_F(ConfigFolders, AdministratorWinsOverVendor) {
    put("usr/backupd.toml",
        "[engine]\nread-threads = 2\ncompression-level = 5\n[repository.r]\nurl = \"/vendor\"\n"
        "[defaults]\nexclude = [\"*.vendor\"]\nnodump = false\n");
    put("usr/sets.d/a.toml", "repository = \"r\"\npaths = [\"/vendor\"]\n");
    put("usr/sets.d/b.toml", "repository = \"r\"\npaths = [\"/vendor\"]\n");
    put("etc/backupd.toml", "[engine]\nread-threads = 3\n[defaults]\nexclude = [\"*.etc\"]\n");
    put("etc/repositories.d/r.toml", "url = \"/etc-r\"\n");
    put("etc/sets.d/a.toml", "repository = \"r\"\npaths = [\"/etc-a\"]\n");
    put("etc/sets.d/.hidden.toml", "nonsense");
    put("etc/sets.d/a.toml~", "nonsense");
    const auto loaded = load();
    EXPECT_EQ(problems(loaded), "");
    EXPECT_EQ(loaded.policy.read_threads, 3u);
    EXPECT_EQ(loaded.policy.compression_level, 5);
    EXPECT_EQ(loaded.policy.repositories.at("r").url, "/etc-r");
    EXPECT_EQ(loaded.policy.sets.size(), 2u);
    EXPECT_EQ(loaded.policy.sets.at("a").paths[0].text(), "/etc-a");
    EXPECT_EQ(loaded.policy.sets.at("b").exclude.patterns, std::vector<std::string>{"*.etc"});
    EXPECT_FALSE(loaded.policy.sets.at("b").exclude.nodump);
    EXPECT_EQ(loaded.policy.sets.at("b").origin, (root_ / "usr/sets.d/b.toml:1").native());
}

TEST_F(ConfigFolders, OneNameTwiceInOneFolderIsAProblem) {
    put("etc/backupd.toml",
        "[repository.r]\nurl = \"/a\"\n[set.s]\nrepository = \"r\"\npaths = [\"/x\"]\n");
    put("etc/repositories.d/r.toml", "url = \"/b\"\n");
    put("etc/sets.d/s.toml", "repository = \"r\"\npaths = [\"/y\"]\n");
    const auto loaded = load();
    ASSERT_EQ(loaded.problems.size(), 2u) << problems(loaded);
    EXPECT_NE(problems(loaded).find("backupd.toml:1"), std::string::npos) << problems(loaded);
    EXPECT_NE(problems(loaded).find("twice"), std::string::npos);
}

TEST_F(ConfigFolders, FilesThatCannotBeReadAreProblems) {
    fs::create_directories(root_ / "etc/sets.d/folder.toml");
    fs::create_symlink("nowhere", root_ / "etc/sets.d/dangling.toml");
    ASSERT_EQ(::mkfifo((root_ / "etc/sets.d/fifo.toml").c_str(), 0600), 0);
    const auto loaded = load();
    EXPECT_EQ(loaded.problems.size(), 2u) << problems(loaded);
    put("etc/repositories.d", "a file");
    EXPECT_NE(problems(load()).find("repositories.d"), std::string::npos);
}

TEST(Names, AreSafeAsFileNames) {
    for (const char* name : {"a", "home", "A.b_c-9", "0"}) EXPECT_TRUE(is_valid_name(name)) << name;
    EXPECT_TRUE(is_valid_name(std::string(64, 'a')));
    for (const char* name : {"", ".", "..", ".a", "-a", "_a", "a/b", "a b", "\xc3\xa4"})
        EXPECT_FALSE(is_valid_name(name)) << name;
    EXPECT_FALSE(is_valid_name(std::string(65, 'a')));
    EXPECT_FALSE(is_valid_name(std::string_view("a\0b", 3)));
}

TEST(Config, RulesOfRetentionAreATableOfTheSet) {
    auto loaded = set_of(kSet +
                         "[keep]\nlast = 3\nhourly = 24\ndaily = 7\nweekly = 4\nmonthly = 12\n"
                         "yearly = 10\nwithin = \"2d\"\ntags = [\"release\"]\nminimum = 5\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    KeepRules rules{.last = 3,
                    .hourly = 24,
                    .daily = 7,
                    .weekly = 4,
                    .monthly = 12,
                    .yearly = 10,
                    .within_seconds = 2 * 86'400,
                    .tags = {"release"},
                    .minimum = 5};
    EXPECT_EQ(loaded.policy.sets.at("home").keep, rules);
    // And back: the table comes last.
    auto again = set_of(format_set_config(loaded.policy.sets.at("home")));
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    EXPECT_EQ(again.policy.sets.at("home").keep, rules);
    EXPECT_EQ(set_of(kSet).policy.sets.at("home").keep, KeepRules{});
    expect_problem(set_of(kSet + "[keep]\ndayly = 7\n"), 4, {"dayly", "daily"});
    expect_problem(set_of(kSet + "[keep]\ndaily = -1\n"), 4, {"daily"});
    expect_problem(set_of(kSet + "[keep]\ntags = [\"a b\"]\n"), 4, {"tags"});
}

TEST(Config, WhatBecomesOfGarbageIsTheRepositorys) {
    auto loaded = repository_of(
        "url = \"/srv/b\"\ntrash = \"3d\"\ngrace = \"36h\"\ncollect = \"off\"\n"
        "collect-rate = \"10MiB\"\nwaste = 50\nappend-only = true\n");
    ASSERT_TRUE(loaded.problems.empty()) << problems(loaded);
    const RepositoryPolicy& nas = loaded.policy.repositories.at("nas");
    EXPECT_EQ(nas.trash_seconds, 3 * 86'400u);
    EXPECT_EQ(nas.grace_seconds, 36 * 3'600u);
    EXPECT_EQ(nas.collect_seconds, 0u);
    EXPECT_EQ(nas.collect_rate, 10u << 20);
    EXPECT_EQ(nas.waste_percent, 50u);
    EXPECT_TRUE(nas.append_only);
    auto again = repository_of(format_repository_config(nas));
    ASSERT_TRUE(again.problems.empty()) << problems(again);
    EXPECT_EQ(again.policy.repositories.at("nas").collect_seconds, 0u);
    EXPECT_EQ(again.policy.repositories.at("nas").grace_seconds, nas.grace_seconds);
    expect_problem(repository_of("url = \"/srv/b\"\ngrace = \"1h\"\n"), 2, {"grace", "24h"});
}

}  // namespace
}  // namespace backup
