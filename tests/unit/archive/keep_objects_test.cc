// What is kept of objects that a restore is about to replace.
#include "daemon/archive/keep_objects.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

class KeepObjectsTest : public ArchiveTest {
  protected:
    Result<BackupResult> keep(std::vector<ObjectToKeep> objects) {
        KeepRequest request;
        request.objects = std::move(objects);
        request.places = {source_};
        request.tags.set = "home";
        request.tags.number = 12;
        request.tags.trigger = "pre-restore";
        request.clock = &clock_;
        Progress progress;
        Result<KeptObjects> kept = keep_objects(request, *repository_, progress, {});
        if (!kept.ok()) return std::move(kept).error();
        BackupResult result;
        result.revision = kept->revision;
        result.counts = kept->counts;
        EXPECT_TRUE(repository_->refresh_index({}).ok());
        result.snapshot = *repository_->load_revision(kept->revision);
        result.tree = result.snapshot.tree;
        return result;
    }
};

}  // namespace

TEST_F(KeepObjectsTest, HoldsWhatIsNamedWithTheDirectoriesAboveAndNothingElse) {
    put("d/kept", "kept\n");
    put("d/other", "other\n");
    put("beside", "beside\n");
    ::chmod(at("d").c_str(), 0711);
    auto kept = keep({{at("d/kept"), false}});
    ASSERT_TRUE(kept.ok()) << kept.error().message();
    EXPECT_EQ(names(*kept, source_), Names{"d"});
    EXPECT_EQ(names(*kept, at("d")), Names{"kept"});
    EXPECT_EQ(content(*node(*kept, at("d/kept"))), "kept\n");
    EXPECT_EQ(node(*kept, at("d"))->unix_mode() & 07777, 0711u);
    EXPECT_EQ(kept->counts.total_files, 1u);
}

TEST_F(KeepObjectsTest, ADirectoryIsKeptByItselfUnlessItsEntriesAreNamed) {
    put("d/inside", "inside\n");
    put("e/inside", "inside\n");
    auto kept = keep({{at("d"), true}, {at("e"), true}, {at("e/inside"), false}});
    ASSERT_TRUE(kept.ok()) << kept.error().message();
    EXPECT_EQ(names(*kept, at("d")), Names{});
    EXPECT_EQ(names(*kept, at("e")), Names{"inside"});
}

TEST_F(KeepObjectsTest, NoRuleOfAnySetLeavesAnythingOut) {
    put("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    put("cache/data", "data\n");
    ASSERT_EQ(::symlink("nowhere", at("link").c_str()), 0);
    auto kept = keep({{at("cache/data"), false}, {at("link"), false}});
    ASSERT_TRUE(kept.ok()) << kept.error().message();
    EXPECT_EQ(names(*kept, at("cache")), Names{"data"});
    EXPECT_EQ(node(*kept, at("link"))->link_target, "nowhere");
}

TEST_F(KeepObjectsTest, ThousandsInOneDirectoryAreKept) {
    std::vector<ObjectToKeep> objects;
    for (int i = 0; i < 3000; ++i) {
        const std::string name = "d/f" + std::to_string(i);
        put(name, name);
        objects.push_back({at(name), false});
    }
    auto kept = keep(objects);
    ASSERT_TRUE(kept.ok()) << kept.error().message();
    EXPECT_EQ(names(*kept, at("d")).size(), 3000u);
    EXPECT_EQ(content(*node(*kept, at("d/f2999"))), "d/f2999");
}

TEST_F(KeepObjectsTest, WhatIsGoneIsLeftOut) {
    put("here", "here\n");
    auto kept = keep({{at("here"), false}, {at("gone"), false}});
    ASSERT_TRUE(kept.ok()) << kept.error().message();
    EXPECT_EQ(names(*kept, source_), Names{"here"});
}

TEST_F(KeepObjectsTest, IsTaggedAsWhatARestoreKept) {
    put("file", "file\n");
    auto kept = keep({{at("file"), false}});
    ASSERT_TRUE(kept.ok());
    const RevisionTags tags = parse_revision_tags(kept->snapshot.tags);
    EXPECT_EQ(tags.set, "home");
    EXPECT_EQ(tags.number, 12u);
    EXPECT_EQ(tags.trigger, "pre-restore");
    EXPECT_EQ(kept->snapshot.tags.front(), "backupd:kept-for=home");
    EXPECT_FALSE(kept->snapshot.parent);
}

TEST_F(KeepObjectsTest, NothingIsMadeOfWhatCannotBeRead) {
    if (::geteuid() == 0) GTEST_SKIP() << "root reads everything";
    put("file", "file\n");
    ::chmod(at("file").c_str(), 0);
    const auto before = repository_->list_revisions()->size();
    EXPECT_FALSE(keep({{at("file"), false}}).ok());
    EXPECT_EQ(repository_->list_revisions()->size(), before);
}

}  // namespace backup
