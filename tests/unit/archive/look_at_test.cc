// Runs that know what changed: what they ask of the file system, and directories with other names.
#include <atomic>

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/archive/archive_fixture.h"
#include "tests/unit/archive/marks.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

// The real file system, counted.
class CountingFs final : public RealFs {
  public:
    std::atomic<int> opens{0}, lists{0}, stats{0}, stats_of_open{0}, reads{0}, lists_of_xattrs{0},
        others{0};

    int open(int directory, const char* name, int flags) override {
        return ++opens, RealFs::open(directory, name, flags);
    }
    ssize_t list(int directory, MutableByteView buffer) override {
        return ++lists, RealFs::list(directory, buffer);
    }
    int status(int directory, const char* name, int flags, struct statx& out) override {
        return ++(name[0] == '\0' ? stats_of_open : stats),
               RealFs::status(directory, name, flags, out);
    }
    ssize_t read(int fd, MutableByteView buffer) override {
        return ++reads, RealFs::read(fd, buffer);
    }
    ssize_t list_xattrs(int fd, MutableByteView buffer) override {
        return ++lists_of_xattrs, RealFs::list_xattrs(fd, buffer);
    }
    ssize_t read_link(int directory, const char* name, MutableByteView buffer) override {
        return ++others, RealFs::read_link(directory, name, buffer);
    }
    std::int64_t seek(int fd, std::int64_t offset, int whence) override {
        return ++others, RealFs::seek(fd, offset, whence);
    }
};

class LookAtTest : public ArchiveTest {
  protected:
    BlobId tree_of_full_scan() {
        auto parent = std::exchange(request_.parent, std::nullopt);
        const LookAt* look_at = std::exchange(request_.look_at, nullptr);
        Fs* fs = std::exchange(request_.fs, &fs_);
        BlobId tree = tree_of_source(run());
        request_.parent = parent;
        request_.look_at = look_at;
        request_.fs = fs;
        return tree;
    }
    // A run that knows only what the marks say; its tree must be that of a full scan.
    BackupResult run_with(const Marks& marks) {
        request_.look_at = &marks;
        fs_.forget_touched();
        BackupResult result = run();
        touched_ = fs_.touched();
        EXPECT_EQ(tree_of_source(result), tree_of_full_scan());
        request_.look_at = nullptr;
        return result;
    }
    bool was_touched(std::string_view name) const {
        return std::ranges::find(touched_, name) != touched_.end();
    }
    // Thousands of them take no time.
    void put_empty(const std::string& name) {
        ASSERT_EQ(::mknod(at(name).c_str(), S_IFREG | 0644, 0), 0) << name;
    }
    void move(const std::string& from, const std::string& to) {
        ASSERT_EQ(::rename(at(from).c_str(), at(to).c_str()), 0);
    }
    void expect_counts_of_full_scan(const BackupResult& result) {
        auto parent = std::exchange(request_.parent, std::nullopt);
        BackupResult all = run();
        request_.parent = parent;
        EXPECT_EQ(result.counts.total_files, all.counts.total_files);
        EXPECT_EQ(result.counts.total_bytes, all.counts.total_bytes);
        EXPECT_EQ(
            result.counts.files_new + result.counts.files_changed + result.counts.files_unmodified,
            all.counts.total_files);
        EXPECT_EQ(
            result.counts.dirs_new + result.counts.dirs_changed + result.counts.dirs_unmodified,
            all.counts.dirs_new + all.counts.dirs_changed + all.counts.dirs_unmodified);
    }
    void make_sample() {
        put("a/one", "1");
        put("a/two", "22");
        put("b/deep/three", "333");
        put("b/deep/large", random_text(1'500'000, 1));
        put("top", "4444");
    }

    Marks marks_{source_};
    Names touched_;
};

}  // namespace

TEST_F(LookAtTest, TenChangesAmongTwentyThousandFilesCostTenReadingsAndNothingElse) {
    for (int file = 0; file < 20'000; ++file) {
        if (file % 20 == 0)
            make_directory("d" + std::to_string(file / 2000) + "/d" + std::to_string(file / 20));
        put_empty("d" + std::to_string(file / 2000) + "/d" + std::to_string(file / 20) + "/f" +
                  std::to_string(file));
    }
    run();
    std::set<std::string> directories;
    for (int i = 0; i < 10; ++i) {
        int file = i * 2077;
        std::string middle = "d" + std::to_string(file / 2000);
        std::string inner = middle + "/d" + std::to_string(file / 20);
        std::string name = inner + "/f" + std::to_string(file);
        put(name, "changed " + std::to_string(file));
        marks_.touch(name);
        directories.insert({middle, inner});
    }
    ::usleep(50'000);  // beyond two ticks: nothing need be waited for and looked at again
    int below = static_cast<int>(directories.size());
    ASSERT_EQ(below, 20);
    int above = static_cast<int>(set_.paths[0].components().size());

    CountingFs fs;
    request_.fs = &fs;
    request_.look_at = &marks_;
    BackupResult second = run();
    EXPECT_EQ(fs.lists, 0);
    EXPECT_EQ(fs.reads, 10);
    // The marked files, the directories that lead to them, and the set's own.
    EXPECT_EQ(fs.opens, 10 + below + 1);
    // By name: once each, those above the set included; and the set's path before anything begins.
    EXPECT_EQ(fs.stats, 10 + below + above + 1);
    // Of what is open: directories once, files before and after the reading.
    EXPECT_EQ(fs.stats_of_open, below + 2 * 10);
    EXPECT_EQ(fs.lists_of_xattrs, 10);
    EXPECT_EQ(fs.others, 0);
    EXPECT_EQ(second.counts.files_read, 10u);
    EXPECT_EQ(second.counts.files_changed, 10u);
    EXPECT_EQ(second.counts.files_unmodified, 19'990u);
    EXPECT_EQ(second.counts.total_files, 20'000u);
    EXPECT_EQ(second.counts.dirs_read, 0u);
    EXPECT_EQ(second.counts.tree_blobs_new, static_cast<unsigned>(below + 1 + above));
    EXPECT_EQ(tree_of_source(second), tree_of_full_scan());
}

TEST_F(LookAtTest, WithoutMarksOnlyTheSetsPathsAreLookedAt) {
    make_sample();
    run();
    CountingFs fs;
    request_.fs = &fs;
    request_.look_at = &marks_;
    run();
    EXPECT_EQ(fs.opens, 0);
    EXPECT_EQ(fs.lists, 0);
    EXPECT_EQ(fs.stats, static_cast<int>(set_.paths[0].components().size()) + 1);
}

TEST_F(LookAtTest, ARenamedDirectoryIsNeitherListedNorIsAFileInItLookedAt) {
    for (int i = 0; i < 10'000; ++i) {
        if (i % 500 == 0) make_directory("old/d" + std::to_string(i / 500));
        put_empty("old/d" + std::to_string(i / 500) + "/inside" + std::to_string(i));
    }
    put("old/d7/inside", "x");
    put("beside", "y");
    BackupResult first = run();
    move("old", "new");
    marks_.moved("old", "new");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 0u);
    EXPECT_EQ(second.counts.dirs_read, 0u);
    for (const std::string& name : touched_) EXPECT_FALSE(name.starts_with("inside")) << name;
    EXPECT_FALSE(was_touched("d0"));
    EXPECT_EQ(*node(second, at("new"))->subtree, *node(first, at("old"))->subtree);
    EXPECT_EQ(second.counts.files_removed, 0u);
    EXPECT_EQ(second.counts.files_unmodified, 10'002u);
    EXPECT_EQ(second.counts.total_files, 10'002u);
    EXPECT_EQ(second.counts.total_bytes, 2u);
}

TEST_F(LookAtTest, ChangesInARenamedDirectoryAreSeenUnderItsNewName) {
    make_sample();
    run();
    move("b", "c");
    put("c/deep/three", "changed");
    put("c/deep/new", "n");
    marks_.moved("b", "c");
    marks_.touch("c/deep/three");
    marks_.touch("c/deep/new");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 2u);
    EXPECT_FALSE(was_touched("large"));
    EXPECT_EQ(second.counts.files_changed, 1u);
    EXPECT_EQ(second.counts.files_new, 1u);
    EXPECT_EQ(second.counts.files_removed, 0u);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, ADirectoryMovedOutOfOneThatIsGoneIsNotCountedAsRemoved) {
    make_sample();
    run();
    move("b/deep", "kept");
    put("b/last", "l");
    std::filesystem::remove_all(at("b"));
    marks_.touch("b");
    marks_.moved("b/deep", "kept");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 0u);
    EXPECT_EQ(second.counts.files_removed, 0u);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, DirectoriesMayChangePlaces) {
    make_sample();
    BackupResult first = run();
    move("a", "swap");
    move("b", "a");
    move("swap", "b");
    marks_.moved("a", "b");
    marks_.moved("b", "a");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 0u);
    EXPECT_EQ(*node(second, at("a"))->subtree, *node(first, at("b"))->subtree);
    EXPECT_EQ(*node(second, at("b"))->subtree, *node(first, at("a"))->subtree);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, ANewDirectoryInPlaceOfAMovedOneIsReadWhole) {
    make_sample();
    run();
    move("b", "old");
    put("b/deep/three", "another");
    marks_.moved("b", "old");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(content(*node(second, at("b/deep/three"))), "another");
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, AnotherDirectoryUnderTheNameIsNeverKeptWhateverTheMarksSay) {
    make_sample();
    run();
    ASSERT_EQ(::rename(at("b").c_str(), (folder_.path() + "/away").c_str()), 0);
    put("b/deep/three", "another");
    put("b/other", "o");
    marks_.touch("b");  // untouched below
    BackupResult second = run_with(marks_);
    EXPECT_EQ(names(second, at("b")), (Names{"deep", "other"}));
    EXPECT_EQ(names(second, at("b/deep")), Names{"three"});
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, AnOriginWithAnotherInodeIsNotTaken) {
    make_sample();
    run();
    std::filesystem::remove_all(at("a"));
    put("c/mine", "not theirs");
    marks_.touch("a");
    marks_.touch("c");
    marks_.moved("b", "c");  // wrong
    BackupResult second = run_with(marks_);
    EXPECT_EQ(names(second, at("c")), Names{"mine"});
    EXPECT_EQ(second.counts.files_removed, 2u);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, AnOriginThatTheParentNeverHadIsReadWhole) {
    make_sample();
    run();
    put("c/d/file", "new");
    for (const char* from : {"nowhere/at/all", "top", "a/one"}) marks_.moved(from, "c");
    run_with(marks_);
}

TEST_F(LookAtTest, TheTopOfADeepTreeMayBeRenamed) {
    std::string deep = "top-0";
    for (int level = 1; level < 60; ++level) deep += "/level-" + std::to_string(level);
    put(deep + "/file", "1");
    put(deep + "/other", "2");
    run();
    move("top-0", "renamed");
    std::string now = "renamed" + deep.substr(5);
    put(now + "/file", "changed");
    marks_.moved("top-0", "renamed");
    marks_.touch(now + "/file");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(content(*node(second, at(now + "/file"))), "changed");
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, AMoveIntoARenamedDirectoryIsFollowed) {
    make_sample();
    run();
    move("b", "c");
    move("a", "c/a");
    marks_.moved("b", "c");
    marks_.moved("a", "c/a");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_read, 0u);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, CountsHoldWhenFilesVanishBecomeUnreadableOrChangeTheirType) {
    make_sample();
    put("sub/x", "x");
    put("sub/y", "y");
    run();
    std::filesystem::remove(at("a/one"));
    std::filesystem::remove_all(at("sub"));
    put("sub", "now a file");
    std::filesystem::remove(at("top"));
    put("top/inside", "now a directory");
    for (const char* name : {"a/one", "sub", "top"}) marks_.touch(name);
    BackupResult second = run_with(marks_);
    EXPECT_EQ(second.counts.files_removed, 4u);
    expect_counts_of_full_scan(second);
}

TEST_F(LookAtTest, WhatCannotBeReadIsMissingFromTheTotals) {
    make_sample();
    run();
    put("a/one", "changed");
    fs_.on_open = [](std::string_view name) { return name == "one" ? -EACCES : 0; };
    marks_.touch("a/one");
    request_.look_at = &marks_;
    BackupResult second = run();
    EXPECT_EQ(second.counts.total_files, 4u);
    EXPECT_EQ(second.counts.files_removed, 0u);
    fs_.on_open = nullptr;
    BackupResult third = run();
    EXPECT_EQ(third.counts.total_files, 5u);
}

TEST_F(LookAtTest, CacheDirectoriesAreLookedForOnlyWhereTheirTagIsKnown) {
    constexpr const char* kTag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    set_.exclude.cachedir_tag = true;
    make_sample();
    put("cache/CACHEDIR.TAG", kTag);
    put("cache/data", "1");
    run();
    put("a/one", "changed");
    put("cache/more", "2");
    marks_.touch("a/one");
    marks_.touch("cache/more");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(names(second, at("cache")), Names{"CACHEDIR.TAG"});
    // A tag that appears empties the revision of what it tags.
    put("a/CACHEDIR.TAG", kTag);
    Marks more{source_};
    more.touch("a/CACHEDIR.TAG");
    BackupResult third = run_with(more);
    EXPECT_EQ(names(third, at("a")), Names{"CACHEDIR.TAG"});
    expect_counts_of_full_scan(third);
}

TEST_F(LookAtTest, MountsAndOwnStateThatAreEnteredNoMoreLeaveTheTotals) {
    make_sample();
    run();
    request_.never_enter = {*Path::parse(at("b"))};
    marks_.touch("b");
    BackupResult second = run_with(marks_);
    EXPECT_EQ(names(second, at("b")), Names{});
    expect_counts_of_full_scan(second);
}

}  // namespace backup
