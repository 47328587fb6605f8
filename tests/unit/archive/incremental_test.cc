// What a run reads again, and what it takes from the parent revision.
#include <algorithm>
#include <limits>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/archive/backup.h"
#include "tests/unit/archive/archive_fixture.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

class IncrementalTest : public ArchiveTest {
  protected:
    // The tree of the source if nothing were known about it.
    BlobId tree_without_parent() {
        auto parent = std::exchange(request_.parent, std::nullopt);
        const LookAt* look_at = std::exchange(request_.look_at, nullptr);
        BlobId tree = tree_of_source(run());
        request_.parent = parent;
        request_.look_at = look_at;
        return tree;
    }
    void make_sample() {
        put("a/one", "1");
        put("a/two", "22");
        put("b/deep/three", "333");
        put("b/deep/large", random_text(1'500'000, 1));
        put("top", "4444");
        ASSERT_EQ(::symlink("top", at("link").c_str()), 0);
    }
};

// Names directories and their children, as change tracking will.
class Changes final : public LookAt {
  public:
    std::map<std::string, Names> marked;  // directory -> entries
    std::set<std::string> whole;
    std::set<std::string> read;

    Directory directory(const std::string& path) const override {
        if (whole.contains(path)) return Directory::all;
        return marked.contains(path) ? Directory::entries : Directory::untouched;
    }
    Names entries(const std::string& path) const override { return marked.at(path); }
    bool must_read(const std::string& path) const override { return read.contains(path); }
};

}  // namespace

TEST_F(IncrementalTest, WhatIsUnchangedIsNeitherReadNorStored) {
    make_sample();
    BackupResult first = run();
    BackupResult second = run();
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
    EXPECT_EQ(second.counts.files_read, 0u);
    EXPECT_EQ(second.counts.bytes_read, 0u);
    EXPECT_EQ(second.counts.data_blobs_new, 0u);
    EXPECT_EQ(second.counts.files_unmodified, 5u);
    EXPECT_EQ(second.counts.files_new + second.counts.files_changed, 0u);
    EXPECT_EQ(second.counts.total_bytes, first.counts.total_bytes);
    EXPECT_EQ(second.counts.total_files, 5u);
}

TEST_F(IncrementalTest, OnlyWhatChangedIsRead) {
    make_sample();
    BackupResult first = run();
    put("a/two", "changed");
    put("b/new", "n");
    std::filesystem::remove(at("top"));
    BackupResult second = run();
    EXPECT_EQ(second.counts.files_read, 2u);
    EXPECT_EQ(second.counts.files_new, 1u);
    EXPECT_EQ(second.counts.files_changed, 1u);
    EXPECT_EQ(second.counts.files_removed, 1u);
    EXPECT_EQ(second.counts.files_unmodified, 3u);
    EXPECT_EQ(second.counts.data_blobs_new, 2u);
    EXPECT_EQ(content(*node(second, at("a/two"))), "changed");
    EXPECT_EQ(names(second, source_), (Names{"a", "b", "link"}));
    EXPECT_EQ(*node(second, at("b/deep"))->subtree, *node(first, at("b/deep"))->subtree);
    EXPECT_EQ(tree_of_source(second), tree_without_parent());
}

TEST_F(IncrementalTest, AChangeThatHidesItsTimeIsSeenByCtime) {
    put("file", "before");
    struct stat status;
    ASSERT_EQ(::stat(at("file").c_str(), &status), 0);
    run();
    put("file", "behind");
    timespec times[2] = {status.st_atim, status.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, at("file").c_str(), times, 0), 0);
    BackupResult second = run();
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(content(*node(second, at("file"))), "behind");
}

TEST_F(IncrementalTest, ChangedModeIsStoredFresh) {
    put("file", "x");
    run();
    ::chmod(at("file").c_str(), 0600);
    BackupResult second = run();
    EXPECT_EQ(node(second, at("file"))->unix_mode(), S_IFREG | 0600u);
    EXPECT_EQ(second.counts.files_changed, 1u);
    EXPECT_EQ(second.counts.data_blobs_new, 0u);
}

TEST_F(IncrementalTest, FullRunReadsAllAndGivesTheSameTree) {
    make_sample();
    BackupResult first = run();
    request_.full = true;
    BackupResult second = run();
    EXPECT_EQ(second.counts.files_read, 5u);
    EXPECT_EQ(second.counts.files_unmodified, 5u);
    EXPECT_EQ(second.counts.data_blobs_new, 0u);
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
    EXPECT_EQ(parse_revision_tags(second.snapshot.tags).mode, "full");
}

TEST_F(IncrementalTest, RemovedDirectoriesCountTheirFiles) {
    make_sample();
    run();
    std::filesystem::remove_all(at("b"));
    EXPECT_EQ(run().counts.files_removed, 2u);
}

TEST_F(IncrementalTest, NamesMayChangeTheirType) {
    make_sample();
    run();
    std::filesystem::remove_all(at("b"));
    put("b", "now a file");
    std::filesystem::remove(at("top"));
    put("top/inside", "now a directory");
    std::filesystem::remove(at("link"));
    ASSERT_EQ(::mkfifo(at("link").c_str(), 0600), 0);
    BackupResult second = run();
    EXPECT_EQ(content(*node(second, at("b"))), "now a file");
    EXPECT_EQ(names(second, at("top")), Names{"inside"});
    EXPECT_EQ(node(second, at("link"))->type, NodeType::fifo);
    EXPECT_EQ(second.counts.files_removed, 3u);
    EXPECT_EQ(tree_of_source(second), tree_without_parent());
}

TEST_F(IncrementalTest, ADamagedParentTreeIsReadAnew) {
    make_sample();
    BackupResult first = run();
    request_.parent->snapshot.tree = BlobId{};  // nothing of this name
    BackupResult second = run();
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
    EXPECT_EQ(second.counts.files_new, 5u);
    EXPECT_EQ(second.counts.data_blobs_new, 0u);
}

TEST_F(IncrementalTest, ContentThatTheRepositoryLostIsReadAgain) {
    put("file", "precious");
    BackupResult first = run();
    // Only the trees remain: as after a prune that went wrong.
    MemoryBackend other;
    auto fresh = Repository::init(other, as_bytes("secret"), {.clock = &clock_},
                                  KeyCost{.n = 16, .r = 1, .p = 1});
    ASSERT_TRUE(fresh.ok());
    {
        auto session = (*fresh)->start_write({}, {});
        ASSERT_TRUE(session.ok());
        std::vector<BlobId> trees{first.tree};
        while (!trees.empty()) {
            Bytes json = *repository_->blobs().load({BlobType::tree, trees.back()});
            trees.pop_back();
            ASSERT_TRUE((*session)->save(BlobType::tree, json).ok());
            std::vector<Node> children = *decode_tree(json);
            for (const Node& child : children)
                if (child.subtree) trees.push_back(*child.subtree);
        }
        ASSERT_TRUE((*session)->checkpoint().ok());
    }
    repository_ = std::move(*fresh);
    BackupResult second = run();
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(content(*node(second, at("file"))), "precious");
    repository_.reset();  // before `other`
}

TEST_F(IncrementalTest, UntouchedSubtreesCostNoSystemCall) {
    make_sample();
    BackupResult first = run();
    Changes nothing;
    request_.look_at = &nothing;
    fs_.forget_touched();
    BackupResult second = run();
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
    for (const std::string& name : fs_.touched())
        for (const char* inside : {"a", "b", "deep", "one", "two", "three", "large", "top", "link"})
            EXPECT_NE(name, inside);
    EXPECT_EQ(second.counts.dirs_read, 0u);
    EXPECT_EQ(second.counts.total_files, first.counts.total_files);
    EXPECT_EQ(second.counts.total_bytes, first.counts.total_bytes);
}

TEST_F(IncrementalTest, OnlyNamedEntriesAreLookedAt) {
    make_sample();
    run();
    put("b/deep/three", "changed");
    put("b/deep/new", "new");
    std::filesystem::remove(at("b/deep/large"));
    Changes changes;
    changes.marked[source_] = {"b"};
    changes.marked[at("b")] = {"deep"};
    changes.marked[at("b/deep")] = {"three", "new", "large", "never-was"};
    request_.look_at = &changes;
    fs_.forget_touched();
    BackupResult second = run();
    Names touched = fs_.touched();
    EXPECT_EQ(std::ranges::count(touched, "a") + std::ranges::count(touched, "top") +
                  std::ranges::count(touched, "link") + std::ranges::count(touched, "one"),
              0);
    EXPECT_EQ(second.counts.dirs_read, 0u);
    EXPECT_EQ(second.counts.files_read, 2u);
    EXPECT_EQ(second.counts.files_removed, 1u);
    EXPECT_EQ(second.counts.total_files, 5u);
    EXPECT_EQ(tree_of_source(second), tree_without_parent());
}

TEST_F(IncrementalTest, TheRootOfTheSetMayBeLookedAtWholly) {
    make_sample();
    run();
    put("c/fresh", "new");
    Changes changes;
    changes.whole = {source_, at("c")};
    request_.look_at = &changes;
    BackupResult second = run();
    EXPECT_EQ(second.counts.dirs_read, 2u);
    EXPECT_EQ(tree_of_source(second), tree_without_parent());
}

TEST_F(IncrementalTest, AnUnsortedParentTreeLosesNothing) {
    put("one", "1");
    put("three", "3");
    put("two", "2");
    BackupResult first = run();
    // The same nodes in another order, as very old writers left them.
    Snapshot shuffled = first.snapshot;
    {
        auto session = repository_->start_write({}, {});
        ASSERT_TRUE(session.ok());
        BlobId id = tree_of_source(first);
        std::string json(as_text(*repository_->blobs().load({BlobType::tree, id})));
        std::size_t three = json.find("{\"name\":\"three\"");
        std::size_t two = json.find("{\"name\":\"two\"");
        std::size_t end = json.find("]}\n", two);
        std::string head = json.substr(0, three), last = json.substr(three, two - three - 1);
        std::string unsorted = head + json.substr(two, end - two) + "," + last + "]}\n";
        std::string old_hex = id.hex();
        std::vector<BlobId> above;
        BlobId tree = first.tree;
        for (std::string_view component : set_.paths[0].components()) {
            above.push_back(tree);
            std::vector<Node> children =
                *decode_tree(*repository_->blobs().load({BlobType::tree, tree}));
            for (const Node& child : children)
                if (child.name == component) tree = *child.subtree;
        }
        BlobId now = (*session)->save(BlobType::tree, as_bytes(unsorted))->id;
        for (auto it = above.rbegin(); it != above.rend(); ++it) {
            std::string text(as_text(*repository_->blobs().load({BlobType::tree, *it})));
            text.replace(text.find(old_hex), 64, now.hex());
            old_hex = it->hex();
            now = (*session)->save(BlobType::tree, as_bytes(text))->id;
        }
        ASSERT_TRUE((*session)->checkpoint().ok());
        shuffled.tree = now;
    }
    request_.parent->snapshot = shuffled;
    Changes changes;
    changes.marked[source_] = {"two"};
    request_.look_at = &changes;
    BackupResult second = run();
    EXPECT_EQ(names(second, source_), (Names{"one", "three", "two"}));
    EXPECT_EQ(tree_of_source(second), tree_of_source(first));
}

TEST_F(IncrementalTest, MustReadOverrulesTheMetadata) {
    make_sample();
    run();
    Changes changes;
    changes.marked[source_] = {"a"};
    changes.marked[at("a")] = {"one", "two"};
    changes.read = {at("a/two")};
    request_.look_at = &changes;
    BackupResult second = run();
    EXPECT_EQ(second.counts.files_read, 1u);
    EXPECT_EQ(second.counts.files_unmodified, 5u);
}

TEST_F(IncrementalTest, WithoutAParentEverythingIsLookedAt) {
    make_sample();
    Changes nothing;
    request_.look_at = &nothing;
    BackupResult first = run();
    EXPECT_EQ(first.counts.files_new, 5u);
    EXPECT_EQ(tree_of_source(first), tree_without_parent());
}

TEST_F(IncrementalTest, FilesOfWhichStampsProveNothingAreReadAlthoughNothingChanged) {
    put("young", "1");
    put("held", "22");
    put("known by inode", "333");
    put("other", "4444");
    put("large", random_text(2 << 20, 7));
    BackupResult first = run();
    EXPECT_EQ(run().counts.files_read, 0u);
    Reread reread{node(first, at("young"))->ctime, {}, {}};
    request_.reread = &reread;
    BackupResult all = run();
    EXPECT_EQ(all.counts.files_read, 5u);
    EXPECT_EQ(all.counts.files_unmodified, 5u) << "read, and as they were";
    EXPECT_EQ(tree_of_source(all), tree_of_source(first));
    reread.since.seconds += 1000;
    EXPECT_EQ(run().counts.files_read, 0u);
    reread.paths.insert(at("held"));
    reread.inodes.insert(node(first, at("known by inode"))->inode);
    fs_.forget_touched();
    EXPECT_EQ(run().counts.files_read, 2u);
}

TEST_F(IncrementalTest, APathOfTheSetThatIsAFileIsReadWhenStampsProveNothing) {
    put("file", "1");
    set_.paths = {*Path::parse(at("file"))};
    run();
    Reread reread{FileTime{std::numeric_limits<std::int64_t>::max(), 0}, {}, {}};
    EXPECT_EQ(run().counts.files_read, 0u);
    request_.reread = &reread;
    EXPECT_EQ(run().counts.files_read, 1u);
}

}  // namespace backup
