#include "daemon/policy/exclusion.h"

#include <map>

#include <gtest/gtest.h>

namespace backup {
namespace {

class Exclusion : public testing::Test {
  protected:
    Exclusion() {
        set.id = "home";
        set.origin = "/c/sets.d/home.toml:1";
        set.paths = {Path::parse("/home").value()};
        for (const char* name : {"/home", "/home/a"}) directory(name);
        file("/home/a/x");
    }
    void directory(const std::string& path, std::uint64_t device = 1) {
        objects[path] = {.exists = true, .is_directory = true, .device = device};
    }
    void file(const std::string& path, std::uint64_t size = 5, std::uint64_t device = 1) {
        objects[path] = {.exists = true, .is_file = true, .size = size, .device = device};
    }
    PathInSet find(const std::string& path) {
        return find_in_set(set, Path::parse(path).value(), own,
                           [&](const std::string& name) {
                               auto found = objects.find(name);
                               return found == objects.end() ? ObjectFacts{} : found->second;
                           })
            .value();
    }
    // "rule path pattern origin", or "in", or "outside".
    std::string told(const std::string& path) {
        PathInSet found = find(path);
        if (!found.root) return "outside";
        if (!found.excluded) return "in";
        const RuleFound& rule = *found.excluded;
        return rule.rule + " " + rule.path + " " + rule.pattern + " " + rule.origin;
    }

    BackupSet set;
    std::vector<Path> own;
    std::map<std::string, ObjectFacts> objects;
};

TEST_F(Exclusion, WhatNoPathHoldsIsOutside) {
    EXPECT_EQ(told("/etc/passwd"), "outside");
    EXPECT_EQ(told("/homestead"), "outside");
    EXPECT_EQ(told("/"), "outside");
    EXPECT_EQ(told("/home"), "in");
    EXPECT_EQ(told("/home/a/x"), "in");
    EXPECT_EQ(told("/home/a/gone"), "in");
}

TEST_F(Exclusion, APatternIsNamedWithItsPlaceAndWhatItMatched) {
    set.exclude.patterns = {"*.o", "cache/"};
    set.exclude.origins = {"/c/backupd.toml:7", "/c/sets.d/home.toml:9"};
    file("/home/a/x.o");
    directory("/home/a/cache");
    file("/home/a/cache/deep");
    EXPECT_EQ(told("/home/a/x.o"), "pattern /home/a/x.o *.o /c/backupd.toml:7");
    EXPECT_EQ(told("/home/a/cache/deep"), "pattern /home/a/cache cache/ /c/sets.d/home.toml:9");
    EXPECT_EQ(told("/home/a/gone/cache/x"),
              "pattern /home/a/gone/cache cache/ /c/sets.d/home.toml:9")
        << "what is gone was a directory";
    set.exclude.origins.clear();
    EXPECT_EQ(told("/home/a/x.o"), "pattern /home/a/x.o *.o ");
}

TEST_F(Exclusion, APatternThatTakesBackInIsTold) {
    set.exclude.patterns = {"*.o", "!keep.o"};
    set.exclude.origins = {"f:1", "f:2"};
    file("/home/a/keep.o");
    const PathInSet found = find("/home/a/keep.o");
    EXPECT_FALSE(found.excluded);
    ASSERT_TRUE(found.taken_in);
    EXPECT_EQ(found.taken_in->pattern, "!keep.o");
    EXPECT_EQ(found.taken_in->origin, "f:2");
}

TEST_F(Exclusion, OfEqualPatternsTheLastIsNamed) {
    set.exclude.patterns = {"*.o", "!x.o", "*.o"};
    set.exclude.origins = {"f:1", "f:2", "f:3"};
    file("/home/a/x.o");
    EXPECT_EQ(told("/home/a/x.o"), "pattern /home/a/x.o *.o f:3");
}

TEST_F(Exclusion, ThePathOfASetIsNeverExcludedAndTheInnermostCounts) {
    set.exclude.patterns = {"cache"};
    set.paths.push_back(Path::parse("/home/a/cache").value());
    directory("/home/a/cache");
    EXPECT_EQ(told("/home/a/cache/x"), "in");
    EXPECT_EQ(find("/home/a/cache/x").root->text(), "/home/a/cache");
}

TEST_F(Exclusion, RulesOfTheObjectAreNamed) {
    const std::string place = " /c/sets.d/home.toml:1";
    objects["/home/a"].cache_tag = true;
    EXPECT_EQ(told("/home/a/x"), "cachedir-tag /home/a " + place);
    EXPECT_EQ(told("/home/a/CACHEDIR.TAG"), "in");
    EXPECT_EQ(told("/home/a"), "in");
    objects["/home/a"].cache_tag = false;
    objects["/home/a/x"].nodump = true;
    EXPECT_EQ(told("/home/a/x"), "nodump /home/a/x " + place);
    set.exclude.nodump = false;
    EXPECT_EQ(told("/home/a/x"), "in");
    set.exclude.larger_than = 4;
    EXPECT_EQ(told("/home/a/x"), "larger-than /home/a/x " + place);
    set.exclude.larger_than = 5;
    EXPECT_EQ(told("/home/a/x"), "in");
}

TEST_F(Exclusion, OtherFileSystemsAreNamedWhereTheyBegin) {
    directory("/home/a/mnt", 2);
    file("/home/a/mnt/x", 5, 2);
    EXPECT_EQ(told("/home/a/mnt/x"), "in");
    set.exclude.other_filesystems = true;
    EXPECT_EQ(told("/home/a/mnt"), "in") << "kept as an empty directory";
    EXPECT_EQ(told("/home/a/mnt/x"), "one-file-system /home/a/mnt  /c/sets.d/home.toml:1");
}

TEST_F(Exclusion, LinksAndOurOwnPlacesAreNotFollowed) {
    objects["/home/a/link"] = {.exists = true, .is_symlink = true, .device = 1};
    EXPECT_EQ(told("/home/a/link"), "in");
    EXPECT_EQ(told("/home/a/link/x"), "symlink /home/a/link  /c/sets.d/home.toml:1");
    own = {Path::parse("/home/repo").value()};
    directory("/home/repo");
    EXPECT_EQ(told("/home/repo/data"), "own /home/repo  ");
}

}  // namespace
}  // namespace backup
