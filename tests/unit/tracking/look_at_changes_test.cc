// What a run looks at after given changes; that the tree is right in each case is the oracle's
// business, and checked here again.
#include "daemon/tracking/look_at_changes.h"

#include <algorithm>

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/tracking/tracked_source.h"

namespace backup {

namespace {

using Directory = LookAt::Directory;
using Strings = std::vector<std::string>;

class LookAtChangesTest : public testing::Test {
  protected:
    std::string in(const std::string& name) const { return set_.source.in(name); }
    std::string out(const std::string& name) const { return set_.source.out(name); }
    void write(const std::string& path, const std::string& content = "x") {
        ASSERT_TRUE(set_.source.write(path, content)) << path;
    }
    void make(const std::string& path) { ASSERT_TRUE(set_.source.make_directory(path)) << path; }
    void move(const std::string& from, const std::string& to) {
        ASSERT_TRUE(set_.source.rename(from, to)) << from << " " << to;
    }
    // A directory with some files and directories in it.
    void fill(const std::string& path) {
        make(path);
        for (const char* name : {"one", "two"}) write(path + "/" + name, name);
        make(path + "/deep");
        write(path + "/deep/three", "three");
    }
    // A quiet run, and one that looks at everything finds the same.
    BackupResult run() {
        auto result = set_.run();
        auto scanned = set_.scan();
        if (!result || !scanned) {
            ADD_FAILURE() << "a run failed";
            return {};
        }
        EXPECT_EQ(set_.describe(*result), set_.describe(*scanned));
        EXPECT_EQ(set_.tree_of_set(*result), set_.tree_of_set(*scanned));
        EXPECT_TRUE(set_.queue.empty());
        return *result;
    }
    // The same, and it opened that many files and listed that many directories.
    void expect_run(std::uint64_t files, std::uint64_t directories) {
        BackupResult result = run();
        EXPECT_EQ(result.counts.files_read, files);
        EXPECT_EQ(result.counts.dirs_read, directories);
    }
    const LookAtChanges& look() const { return *set_.look; }

    TrackedSource set_;
};

}  // namespace

TEST_F(LookAtChangesTest, OnlyMarkedNamesAndTheWayToThemAreLookedAt) {
    fill(in("a"));
    fill(in("b"));
    run();
    write(in("a/deep/three"), "changed");
    expect_run(1, 0);
    EXPECT_EQ(look().directory(in("a/deep")), Directory::entries);
    EXPECT_EQ(look().entries(in("a/deep")), Strings{"three"});
    EXPECT_EQ(look().entries(in("a")), Strings{"deep"});
    EXPECT_EQ(look().entries(set_.source.inside()), Strings{"a"});
    EXPECT_EQ(look().directory(in("b")), Directory::untouched);
    EXPECT_EQ(look().directory(in("a/deep/three")), Directory::untouched);
    ASSERT_EQ(look().items().size(), 1u);
    EXPECT_EQ(look().items()[0].path, in("a/deep/three"));
    EXPECT_STREQ(look().items()[0].kind, "name");
}

TEST_F(LookAtChangesTest, NothingMarkedIsNothingLookedAt) {
    fill(in("a"));
    run();
    expect_run(0, 0);
    EXPECT_EQ(look().directory(set_.source.inside()), Directory::untouched);
    EXPECT_TRUE(look().items().empty());
    EXPECT_FALSE(look().is_everything());
}

TEST_F(LookAtChangesTest, ARenamedDirectoryIsReadNowhere) {
    fill(in("a"));
    run();
    move(in("a"), in("b"));
    expect_run(0, 0);
    EXPECT_EQ(look().was_at(in("b")), in("a"));
    EXPECT_EQ(look().was_at(in("a")), std::nullopt);
}

TEST_F(LookAtChangesTest, ADirectoryThatMovedIntoANewOneIsReadNowhere) {
    fill(in("a"));
    run();
    make(in("new"));
    move(in("a"), in("new/a"));
    expect_run(0, 1);  // the new directory is listed
}

TEST_F(LookAtChangesTest, RenamesOfAParentAndItsChildInAnyOrderReadNothing) {
    fill(in("a"));
    fill(in("a/b"));
    fill(in("a/b/c"));
    run();
    move(in("a/b"), in("a/x"));
    move(in("a"), in("y"));
    expect_run(0, 0);
    EXPECT_EQ(look().was_at(in("y/x")), in("a/b"));
    move(in("y"), in("a"));
    move(in("a/x"), in("a/b"));
    move(in("a/b/c"), in("c"));
    expect_run(0, 0);
    EXPECT_EQ(look().was_at(in("c")), in("y/x/c"));
}

TEST_F(LookAtChangesTest, SwapsReadNothing) {
    fill(in("a"));
    fill(in("b"));
    fill(in("c"));
    run();
    ASSERT_TRUE(set_.source.exchange(in("a"), in("b")));
    expect_run(0, 0);
    move(in("a"), in("t"));
    move(in("c"), in("a"));
    move(in("b"), in("c"));
    move(in("t"), in("b"));
    expect_run(0, 0);
}

TEST_F(LookAtChangesTest, ADirectoryThatWentAndCameBackBetweenRunsOfThatNameReadsNothing) {
    fill(in("a"));
    run();
    move(in("a"), in("b"));
    set_.absorb();
    move(in("b"), in("a"));
    expect_run(0, 0);
}

TEST_F(LookAtChangesTest, ADirectoryThatTakesTheNameOfItsFormerParentReadsNothing) {
    fill(in("a"));
    fill(in("a/b"));
    run();
    move(in("a"), in("old"));
    make(in("a"));
    move(in("old/b"), in("a/b"));
    expect_run(0, 1);  // the new directory is listed
    EXPECT_EQ(look().was_at(in("a/b")), in("a/b"));
}

TEST_F(LookAtChangesTest, ChangesBelowARenamedDirectoryAreFoundUnderItsNewName) {
    fill(in("a"));
    run();
    write(in("a/deep/three"), "before the move");
    move(in("a"), in("b"));
    write(in("b/one"), "after the move");
    expect_run(2, 0);
}

TEST_F(LookAtChangesTest, ADirectoryMadeAnewUnderAnOldNameIsListed) {
    fill(in("a"));
    run();
    ASSERT_TRUE(set_.source.remove(in("a")));
    make(in("a"));
    write(in("a/one"), "new");
    expect_run(1, 1);
    EXPECT_EQ(look().directory(in("a")), Directory::all);
}

TEST_F(LookAtChangesTest, WhatComesFromOutsideIsLookedAtAsAWhole) {
    fill(out("a"));
    set_.absorb();
    run();
    move(out("a"), in("a"));
    expect_run(3, 2);
    EXPECT_EQ(look().directory(in("a/deep")), Directory::all);
}

TEST_F(LookAtChangesTest, WhatWentOutAndCameBackIsComparedButNotReadAgain) {
    fill(in("a"));
    run();
    move(in("a"), out("a"));
    set_.absorb();
    write(out("a/deep/three"), "changed where nobody looks");
    set_.absorb();
    move(out("a"), in("a"));
    expect_run(1, 2);
}

TEST_F(LookAtChangesTest, AfterADirectoryLeftNoOriginIsTrusted) {
    fill(in("a"));
    fill(in("a/b"));
    fill(in("c"));
    run();
    move(in("a"), out("a"));
    set_.absorb();
    write(out("a/b/one"), "changed where nobody looks");
    set_.absorb();
    move(out("a/b"), in("b"));
    move(in("c"), in("d"));
    run();
    EXPECT_EQ(look().directory(in("b/deep")), Directory::all);
    EXPECT_EQ(look().directory(in("d/deep")), Directory::all);
}

TEST_F(LookAtChangesTest, ARunThatIsDisturbedByARenameThereAndBackLosesNothing) {
    fill(in("a"));
    run();
    write(in("a/one"), "changed");
    int step = 0;
    // After the freeze the directory goes, after the plan it is back.
    ASSERT_TRUE(set_.run([&] {
        ++step;
        if (step == 2) move(in("a"), in("elsewhere"));
        if (step == 3) move(in("elsewhere"), in("a"));
    }));
    EXPECT_FALSE(set_.queue.empty());
    run();
}

TEST_F(LookAtChangesTest, AllNamesOfAFileChangeWithIt) {
    fill(in("a"));
    fill(in("b"));
    ASSERT_TRUE(set_.source.link(in("a/one"), in("b/same")));
    run();
    write(in("a/one"), "changed");
    expect_run(2, 0);
    EXPECT_EQ(look().entries(in("b")), Strings{"same"});
}

TEST_F(LookAtChangesTest, AFileThatIsToldByItsHandleAloneIsFoundByItsInode) {
    fill(in("a"));
    run();
    move(in("a"), in("b"));
    ASSERT_TRUE(set_.source.write(in("b/one"), "changed", true));
    expect_run(1, 0);
    EXPECT_EQ(look().entries(in("b")), Strings{"one"});
}

TEST_F(LookAtChangesTest, ALinkIntoTheSetFromOutsideIsFound) {
    fill(in("a"));
    ASSERT_TRUE(set_.source.link(in("a/one"), out("alias")));
    run();
    write(out("alias"), "changed outside");
    expect_run(1, 0);
}

TEST_F(LookAtChangesTest, OtherNamesOfWhatChangedInADirectoryThatLeftAreFound) {
    fill(in("a"));
    fill(in("b"));
    ASSERT_TRUE(set_.source.link(in("a/one"), in("b/same")));
    run();
    set_.source.hide_outside = true;
    write(in("a/one"), "changed");
    set_.absorb();
    move(in("a"), out("a"));
    expect_run(1, 0);
    EXPECT_FALSE(look().is_everything());
}

TEST_F(LookAtChangesTest, OtherNamesOfWhatLiesInAListedDirectoryAreFound) {
    set_.queue = ChangeQueue({.names_of_directory = 2, .marks = 1000});
    fill(in("a"));
    fill(in("b"));
    ASSERT_TRUE(set_.source.link(in("a/one"), in("b/same")));
    run();
    for (const char* name : {"a/one", "a/two", "a/three"}) write(in(name), "changed");
    run();
    EXPECT_EQ(look().directory(in("a")), Directory::all);
}

TEST_F(LookAtChangesTest, WithoutAWayToFindOtherNamesEverythingIsLookedAt) {
    fill(in("a"));
    ASSERT_TRUE(set_.source.link(in("a/one"), in("a/same")));
    set_.absorb();
    FrozenMarks frozen = set_.queue.freeze();
    LookAtInput input;
    input.marks = &frozen;
    input.resolver = set_.source.resolver();
    input.paths = set_.set.paths;
    auto look = LookAtChanges::build(input);
    ASSERT_TRUE(look.ok());
    EXPECT_TRUE((*look)->is_everything());
    input.names_of_inodes = [](const auto&) {
        return Result<std::vector<std::pair<std::uint64_t, std::string>>>(
            Error(ErrorKind::corrupt, "a damaged tree"));
    };
    look = LookAtChanges::build(input);
    ASSERT_TRUE(look.ok());
    EXPECT_TRUE((*look)->is_everything());
}

TEST_F(LookAtChangesTest, EverythingStillReadsWhatMustBeRead) {
    fill(in("a"));
    run();
    SystemClock clock;
    set_.queue.mark_name(TrackedSource::kVolume, RecordedSource::handle(in("a")), "two", true, true,
                         clock.now());
    set_.queue.mark_everything(TrackedSource::kVolume, "for a reason", clock.now());
    BackupResult result = run();
    EXPECT_EQ(result.counts.files_read, 1u);
    EXPECT_TRUE(look().is_everything());
    EXPECT_TRUE(look().must_read(in("a/two")));
    EXPECT_FALSE(look().must_read(in("a/one")));
}

TEST_F(LookAtChangesTest, EverythingOnRequestSaysNoMoreThanNoLookAtUnlessSomethingMustBeRead) {
    fill(in("a"));
    run();
    write(in("a/one"), "changed");
    set_.absorb();
    FrozenMarks frozen = set_.queue.freeze();
    LookAtInput input;
    input.marks = &frozen;
    input.resolver = set_.source.resolver();
    input.paths = set_.set.paths;
    input.everything = true;
    auto look = LookAtChanges::build(input);
    ASSERT_TRUE(look.ok());
    EXPECT_TRUE((*look)->is_everything());
    EXPECT_FALSE((*look)->has_more_to_say());
    EXPECT_EQ((*look)->directory(in("a/deep")), Directory::all);
    input.held_files = {in("a/two")};
    look = LookAtChanges::build(input);
    ASSERT_TRUE(look.ok());
    EXPECT_TRUE((*look)->has_more_to_say());
    EXPECT_TRUE((*look)->may_be_written(in("a/two")));
}

TEST_F(LookAtChangesTest, WhatMustBeReadIsReadAlthoughItLooksTheSame) {
    fill(in("a"));
    run();
    SystemClock clock;
    set_.queue.mark_name(TrackedSource::kVolume, RecordedSource::handle(in("a")), "two", true, true,
                         clock.now());
    expect_run(1, 0);
}

TEST_F(LookAtChangesTest, ATagThatMakesADirectoryACacheDecidesAboutAllInIt) {
    fill(in("a"));
    run();
    write(in("a/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n");
    run();
    ASSERT_TRUE(set_.source.remove(in("a/CACHEDIR.TAG")));
    expect_run(3, 2);
}

TEST_F(LookAtChangesTest, ARenameBelowAPatternWithAPathIsComparedNotKept) {
    set_.set.exclude.patterns = {set_.source.inside() + "/hidden/deep"};
    fill(in("a"));
    fill(in("c"));
    fill(in("hidden"));
    run();
    move(in("a"), in("b"));  // the pattern speaks of neither
    expect_run(0, 0);
    move(in("c"), in("d"));
    move(in("hidden"), in("shown"));
    expect_run(1, 2);  // what had been hidden
    move(in("b"), in("hidden"));
    expect_run(0, 1);  // and what is hidden now is left out
}

TEST_F(LookAtChangesTest, HeldFilesMayBeWritten) {
    set_.absorb();
    FrozenMarks frozen;
    LookAtInput input;
    input.marks = &frozen;
    input.held_files = {"/var/lib/base"};
    auto look = LookAtChanges::build(input);
    ASSERT_TRUE(look.ok());
    EXPECT_TRUE((*look)->may_be_written("/var/lib/base"));
    EXPECT_FALSE((*look)->may_be_written("/var/lib/other"));
}

TEST_F(LookAtChangesTest, ThousandsOfFilesInARenamedDirectoryCostNothing) {
    make(in("old"));
    for (int i = 0; i < 50; ++i) {
        make(in("old/" + std::to_string(i)));
        for (int k = 0; k < 60; ++k)
            write(in("old/" + std::to_string(i) + "/" + std::to_string(k)));
        set_.absorb();
    }
    run();
    move(in("old"), in("new"));
    int calls = 0;
    set_.fs.before = [&] { ++calls; };
    auto result = set_.run();
    set_.fs.before = nullptr;
    ASSERT_TRUE(result);
    EXPECT_EQ(result->counts.files_read, 0u);
    EXPECT_LT(calls, 20);
    EXPECT_EQ(set_.tree_of_set(*result), set_.tree_of_set(*set_.scan()));
}

}  // namespace backup
