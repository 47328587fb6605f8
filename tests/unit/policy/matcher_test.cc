#include "daemon/policy/matcher.h"

#include <random>

#include <gtest/gtest.h>

#include "daemon/policy/glob.h"

namespace backup {
namespace {

class Patterns {
  public:
    Patterns(std::initializer_list<std::string> patterns)
        : matcher_(Matcher::compile(patterns).value()) {}
    bool excludes(const std::string& path) const { return ask(path, false); }
    bool excludes_directory(const std::string& path) const { return ask(path, true); }
    std::string deciding(const std::string& path, bool is_directory = false) const {
        return matcher_.deciding_pattern(path, name(path), is_directory).value_or("none");
    }

  private:
    static std::string_view name(const std::string& path) {
        return std::string_view(path).substr(path.rfind('/') + 1);
    }
    bool ask(const std::string& path, bool is_directory) const {
        return matcher_.excludes(path, name(path), is_directory);
    }
    Matcher matcher_;
};

TEST(Matcher, NameMatchesAtAnyDepth) {
    const Patterns patterns{"core"};
    EXPECT_TRUE(patterns.excludes("/core"));
    EXPECT_TRUE(patterns.excludes("/home/a/core"));
    EXPECT_TRUE(patterns.excludes_directory("/home/a/core"));
    EXPECT_FALSE(patterns.excludes("/home/core/x")) << "the walker asks for the directory first";
}

TEST(Matcher, LookAlikesStayIn) {
    const Patterns patterns{"cache/", "Trash", "*.o", "/home/a/tmp", "node_modules/", "*~"};
    for (const char* path : {"/a/cache.js",   "/a/xcache",    "/a/cache1",
                             "/a/Cache",      "/a/CACHE",     "/a/Trash-Can.mdl",
                             "/a/trash",      "/a/Trash ",    "/a/ Trash",
                             "/a/x.obj",      "/a/o",         "/a/xo",
                             "/a/x.O",        "/home/a/tmp2", "/home/a/tm",
                             "/x/home/a/tmp", "/home/b/tmp",  "/a/node_modules.txt",
                             "/a/~",          "/a/x~y"}) {
        EXPECT_FALSE(std::string(path) != "/a/~" && patterns.excludes(path)) << path;
        EXPECT_FALSE(std::string(path) != "/a/~" && patterns.excludes_directory(path)) << path;
    }
    for (const char* path : {"/a/Trash", "/a/x.o", "/a/.o", "/home/a/tmp", "/a/x~", "/a/~"}) {
        EXPECT_TRUE(patterns.excludes(path)) << path;
    }
    EXPECT_FALSE(patterns.excludes("/a/cache")) << "a file";
    EXPECT_TRUE(patterns.excludes_directory("/a/cache"));
}

TEST(Matcher, SlashAnchorsAtTheRoot) {
    const Patterns patterns{"/var/cache", "home/a", "/tmp"};
    EXPECT_TRUE(patterns.excludes("/var/cache"));
    EXPECT_FALSE(patterns.excludes("/x/var/cache"));
    EXPECT_TRUE(patterns.excludes("/home/a"));
    EXPECT_FALSE(patterns.excludes("/x/home/a"));
    EXPECT_TRUE(patterns.excludes("/tmp"));
    EXPECT_FALSE(patterns.excludes("/x/tmp"));
}

TEST(Matcher, StarStopsAtSlashes) {
    const Patterns patterns{"/home/*/.cache", "/srv/*.d/x?z", "a*c"};
    EXPECT_TRUE(patterns.excludes("/home/a/.cache"));
    EXPECT_FALSE(patterns.excludes("/home/a/b/.cache"));
    EXPECT_FALSE(patterns.excludes("/home/.cache"));
    EXPECT_TRUE(patterns.excludes("/srv/conf.d/xyz"));
    EXPECT_FALSE(patterns.excludes("/srv/conf.d/xz"));
    EXPECT_TRUE(patterns.excludes("/q/abcbc"));
    EXPECT_FALSE(patterns.excludes("/a/c"));
    EXPECT_TRUE(patterns.excludes("/ac"));
}

TEST(Matcher, TwoStarsSpanDirectories) {
    const Patterns patterns{"/a/**/z", "/in/**", "**/deep/end", "**/any"};
    EXPECT_TRUE(patterns.excludes("/a/z"));
    EXPECT_TRUE(patterns.excludes("/a/b/z"));
    EXPECT_TRUE(patterns.excludes("/a/b/c/z"));
    EXPECT_TRUE(patterns.excludes("/a/z/z"));
    EXPECT_FALSE(patterns.excludes("/a/b/zz"));
    EXPECT_FALSE(patterns.excludes("/b/z"));
    EXPECT_FALSE(patterns.excludes("/ab/z"));
    EXPECT_FALSE(patterns.excludes_directory("/in"));
    EXPECT_TRUE(patterns.excludes("/in/x"));
    EXPECT_TRUE(patterns.excludes("/in/x/y"));
    EXPECT_TRUE(patterns.excludes("/deep/end"));
    EXPECT_TRUE(patterns.excludes("/x/y/deep/end"));
    EXPECT_FALSE(patterns.excludes("/x/deep/y/end"));
    EXPECT_TRUE(patterns.excludes("/any"));
    EXPECT_TRUE(patterns.excludes("/x/any"));
    const Patterns several{"/a/**/b/**/c"};
    EXPECT_TRUE(several.excludes("/a/b/c"));
    EXPECT_TRUE(several.excludes("/a/x/b/y/z/c"));
    EXPECT_TRUE(several.excludes("/a/b/b/c/c"));
    EXPECT_FALSE(several.excludes("/a/c/b"));
}

TEST(Matcher, LastMatchWins) {
    const Patterns patterns{"*.log", "!keep.log", "/var/*.log", "!/var/log/"};
    EXPECT_TRUE(patterns.excludes("/a/x.log"));
    EXPECT_FALSE(patterns.excludes("/a/keep.log"));
    EXPECT_TRUE(patterns.excludes("/var/keep.log"));
    EXPECT_EQ(patterns.deciding("/a/x.log"), "*.log");
    EXPECT_EQ(patterns.deciding("/a/keep.log"), "!keep.log");
    EXPECT_EQ(patterns.deciding("/var/keep.log"), "/var/*.log");
    EXPECT_EQ(patterns.deciding("/var/log", true), "!/var/log/");
    EXPECT_EQ(patterns.deciding("/var/log"), "none");
}

TEST(Matcher, SetsAndEscapes) {
    const Patterns patterns{"[a-c]x",  "[!0-9]y", "[^z]w",        "[]]",     "[a-]q",
                            "\\*star", "\\!bang", "[[:digit:]]d", "sp ace ", "#x#"};
    for (const char* path : {"/ax", "/cx", "/ay", "/aw", "/]", "/-q", "/aq", "/*star", "/!bang",
                             "/7d", "/sp ace ", "/#x#"}) {
        EXPECT_TRUE(patterns.excludes(path)) << path;
    }
    for (const char* path :
         {"/dx", "/1y", "/zw", "/[", "/bq", "/xstar", "/bang", "/xd", "/sp ace", "/x"}) {
        EXPECT_FALSE(patterns.excludes(path)) << path;
    }
}

TEST(Matcher, NamesAreBytes) {
    const Patterns patterns{"caf\xc3\xa9", "*\xff", "?"};
    EXPECT_TRUE(patterns.excludes("/caf\xc3\xa9"));
    EXPECT_FALSE(patterns.excludes("/cafe\xcc\x81")) << "another spelling of the same text";
    EXPECT_TRUE(patterns.excludes("/x\xff"));
    EXPECT_TRUE(patterns.excludes("/x"));
    EXPECT_FALSE(patterns.excludes("/\xc3\xa4")) << "two bytes";
}

TEST(Matcher, BadPatternsAreNamed) {
    for (const char* bad : {"", "/", "!", "!/", "//", "a//b", "a/./b", "../x", "[a", "[", "[!",
                            "a[b-", "x\\", "[[:nope:]]", "[z-a]", "a/[b/c]"}) {
        const auto result = Matcher::compile({"good", bad});
        ASSERT_FALSE(result.ok()) << bad;
        EXPECT_EQ(result.error().kind(), ErrorKind::invalid);
        EXPECT_NE(result.error().message().find("\"" + std::string(bad) + "\""), std::string::npos)
            << bad;
    }
    EXPECT_FALSE(Matcher::compile({std::string("a\0b", 3)}).ok());
}

TEST(Matcher, WithoutPatternsNothingIsExcluded) {
    EXPECT_TRUE(Matcher().empty());
    EXPECT_FALSE(Matcher().excludes("/a", "a", false));
    const Patterns none{};
    EXPECT_FALSE(none.excludes("/a"));
    const Patterns all{"*"};
    EXPECT_TRUE(all.excludes("/a"));
    EXPECT_FALSE(all.excludes("/")) << "the root has no name";
}

// What gitignore(5) says, without any of the shortcuts: tries every rule, splits the path each
// time.
bool plain_glob(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern[0] == '*') {
        for (std::size_t i = 0; i <= text.size(); ++i) {
            if (plain_glob(pattern.substr(1), text.substr(i))) return true;
        }
        return false;
    }
    return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
           plain_glob(pattern.substr(1), text.substr(1));
}
bool plain_path(std::vector<std::string> pattern, std::vector<std::string> path) {
    if (pattern.empty()) return path.empty();
    const std::string head = pattern.front();
    std::vector<std::string> rest(pattern.begin() + 1, pattern.end());
    if (head == "**") {
        if (rest.empty()) return !path.empty();
        for (std::size_t i = 0; i <= path.size(); ++i) {
            if (plain_path(rest, {path.begin() + static_cast<std::ptrdiff_t>(i), path.end()}))
                return true;
        }
        return false;
    }
    return !path.empty() && plain_glob(head, path.front()) &&
           plain_path(rest, {path.begin() + 1, path.end()});
}
std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    std::string part;
    for (char c : text) {
        if (c != '/') {
            part += c;
        } else if (!part.empty()) {
            parts.push_back(std::exchange(part, ""));
        }
    }
    if (!part.empty()) parts.push_back(part);
    return parts;
}
bool plainly_excluded(const std::vector<std::string>& patterns, const std::string& path,
                      bool is_directory) {
    bool excluded = false;
    for (std::string_view pattern : patterns) {
        const bool negated = pattern.starts_with('!');
        if (negated) pattern.remove_prefix(1);
        const bool directories = pattern.ends_with('/');
        if (directories) pattern.remove_suffix(1);
        if (directories && !is_directory) continue;
        const bool hit = pattern.find('/') == std::string_view::npos
                             ? plain_glob(pattern, split(path).back())
                             : plain_path(split(pattern), split(path));
        if (hit) excluded = !negated;
    }
    return excluded;
}

TEST(Matcher, ShortcutsChangeNothing) {
    std::mt19937 random(4);
    const auto one_of = [&](std::initializer_list<const char*> words) {
        return std::string(words.begin()[random() % words.size()]);
    };
    const auto part = [&] {
        return one_of(
            {"a", "b", "ab", "a.o", "b.o", "*", "*.o", "a*", "?", "*a*", "b?", "*b", "**"});
    };
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::string> patterns;
        for (auto n = 1 + random() % 6; n > 0; --n) {
            std::string pattern = one_of({"", "", "!"}) + one_of({"", "/"}) + part();
            for (auto more = random() % 4; more > 0; --more) pattern += "/" + part();
            patterns.push_back(pattern + one_of({"", "", "/"}));
        }
        const auto matcher = Matcher::compile(patterns);
        ASSERT_TRUE(matcher.ok()) << matcher.error().message();
        for (int i = 0; i < 20; ++i) {
            std::string path;
            for (auto n = 1 + random() % 4; n > 0; --n)
                path += "/" + one_of({"a", "b", "ab", "a.o", "b.o", "ba", "aab", "c"});
            const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
            for (bool directory : {false, true}) {
                std::string list;
                for (const auto& pattern : patterns) list += pattern + "  ";
                ASSERT_EQ(matcher->excludes(path, name, directory),
                          plainly_excluded(patterns, path, directory))
                    << path << " by " << list;
            }
        }
    }
}

TEST(Glob, HostilePatternsEnd) {
    std::string pattern, text(2000, 'a');
    for (int i = 0; i < 500; ++i) pattern += "*a";
    const auto glob = Glob::compile(pattern + "b").value();
    EXPECT_FALSE(glob.matches(text));
    const auto components = [&] {
        std::string path_pattern, path;
        for (int i = 0; i < 50; ++i) path_pattern += "/**/a";
        for (int i = 0; i < 500; ++i) path += "/a";
        return Matcher::compile({path_pattern + "/b"}).value().excludes(path, "a", false);
    };
    EXPECT_FALSE(components());
}

}  // namespace
}  // namespace backup
