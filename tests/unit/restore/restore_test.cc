#include "daemon/restore/restore.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/restore/node_walk.h"
#include "tests/unit/restore/restore_fixture.h"

namespace backup {
namespace {

TEST_F(RestoreTest, GivesBackContentAndMetadataOfATree) {
    Node setuid = maker_.file("setuid", "x");
    setuid.mode = go_mode(S_IFREG | 06751);
    Node attributes = maker_.file("attributes", "y");
    attributes.extended_attributes = {{"user.colour", to_bytes("blue")}, {"user.empty", {}}};
    Node inner = maker_.dir("inner", {maker_.file("deep", "deep down")});
    inner.mode = go_mode(S_IFDIR | 0550);
    const RestoreCounts counts = restore({maker_.dir(
        "d", {maker_.file("empty", ""), maker_.file("small", "hello\n"), setuid, attributes, inner,
              maker_.symlink("link", "small"), maker_.special("pipe", NodeType::fifo, S_IFIFO)})});
    expect_no_exceptions();
    EXPECT_EQ(counts.files, 5u);
    EXPECT_EQ(counts.directories, 2u);
    EXPECT_EQ(counts.others, 2u);
    EXPECT_EQ(counts.created, 9u);
    EXPECT_EQ(counts.bytes, 6u + 1 + 1 + 9);
    EXPECT_EQ(read_file(target_ / "d/small"), "hello\n");
    EXPECT_EQ(read_file(target_ / "d/inner/deep"), "deep down");
    EXPECT_EQ(status_of(target_ / "d/empty").st_size, 0);
    EXPECT_EQ(status_of(target_ / "d/setuid").st_mode & 07777, 06751u);
    EXPECT_EQ(status_of(target_ / "d/inner").st_mode & 07777, 0550u);
    EXPECT_EQ(status_of(target_ / "d/pipe").st_mode, S_IFIFO | 0640u);
    EXPECT_EQ(fs::read_symlink(target_ / "d/link"), "small");
    for (const char* name : {"d", "d/small", "d/inner", "d/link", "d/pipe", "d/inner/deep"}) {
        EXPECT_EQ(status_of(target_ / name).st_mtim.tv_sec, kThen.seconds) << name;
        EXPECT_EQ(status_of(target_ / name).st_mtim.tv_nsec, kThen.nanoseconds) << name;
    }
    char value[16];
    EXPECT_EQ(::getxattr((target_ / "d/attributes").c_str(), "user.colour", value, sizeof value),
              4);
    EXPECT_EQ(std::string(value, 4), "blue");
    EXPECT_EQ(::getxattr((target_ / "d/attributes").c_str(), "user.empty", value, sizeof value), 0);
    expect_no_temp_files();
}

TEST_F(RestoreTest, LeavesNoMarkOnFinishedDirectories) {
    restore({maker_.dir("d", {maker_.dir("e", {})})});
    char value[1];
    for (const char* name : {"d", "d/e"})
        EXPECT_LT(::getxattr((target_ / name).c_str(), "user.backupd.unfinished", value, 1), 0);
}

TEST_F(RestoreTest, TimesOutsideOfWhatTimestampsHoldComeBack) {
    Node late = maker_.file("late", "x"), early = maker_.file("early", "x");
    late.mtime = {13'569'465'600, 5};   // 2400
    early.mtime = {-1'000'000'000, 7};  // 1938
    restore({early, late});
    EXPECT_EQ(status_of(target_ / "late").st_mtim.tv_sec, late.mtime.seconds);
    EXPECT_EQ(status_of(target_ / "late").st_mtim.tv_nsec, 5);
    EXPECT_EQ(status_of(target_ / "early").st_mtim.tv_sec, early.mtime.seconds);
}

TEST_F(RestoreTest, FilesOfManyBlobsInManyPacksComeBackWhole) {
    std::vector<Node> root;
    std::map<std::string, std::string> wanted;
    for (unsigned i = 0; i < 20; ++i) {
        const std::string name = "file" + std::to_string(i + 10);
        wanted[name] = noise(50'000 + i * 7919, i);
        root.push_back(maker_.file(name, wanted[name], 4096 + i));
    }
    restore(root);
    expect_no_exceptions();
    for (const auto& [name, content] : wanted)
        EXPECT_EQ(read_file(target_ / name), content) << name;
}

TEST_F(RestoreTest, ABlobInManyPlacesIsFetchedOnce) {
    const std::string block = noise(10'000, 1);
    const RestoreCounts counts =
        restore({maker_.file("a", block + block + block, 10'000), maker_.file("b", block, 10'000)});
    EXPECT_EQ(read_file(target_ / "a"), block + block + block);
    EXPECT_EQ(read_file(target_ / "b"), block);
    EXPECT_EQ(counts.bytes, 40'000u);
    EXPECT_LT(counts.bytes_fetched, 11'000u);
}

TEST_F(RestoreTest, ZerosBecomeHoles) {
    std::string content = noise(8192, 3) + std::string(1 << 20, '\0') + noise(100, 4);
    content += std::string((1 << 20) - 100, '\0');
    restore({maker_.file("sparse", content, 300'000),
             maker_.file("zeros", std::string(1 << 20, '\0'), 1 << 19)});
    EXPECT_EQ(read_file(target_ / "sparse"), content);
    EXPECT_EQ(read_file(target_ / "zeros"), std::string(1 << 20, '\0'));
    EXPECT_LT(status_of(target_ / "sparse").st_blocks * 512, 64 << 10);
    EXPECT_LT(status_of(target_ / "zeros").st_blocks * 512, 64 << 10);
}

TEST_F(RestoreTest, HardLinksAreOneFileAgain) {
    Node a = maker_.file("a", "shared"), b = maker_.file("b", "shared"),
         s = maker_.symlink("s", "x"), t = maker_.symlink("t", "x");
    a.links = b.links = 3;
    b.inode = a.inode;
    s.links = t.links = 2;
    t.inode = s.inode;
    Node c = b;
    c.name = "c";
    const RestoreCounts counts = restore({a, maker_.dir("d", {c}), b, s, t});
    expect_no_exceptions();
    EXPECT_EQ(counts.created, 6u);
    EXPECT_EQ(counts.bytes, 6u);
    EXPECT_EQ(status_of(target_ / "a").st_nlink, 3u);
    EXPECT_EQ(status_of(target_ / "a").st_ino, status_of(target_ / "b").st_ino);
    EXPECT_EQ(status_of(target_ / "a").st_ino, status_of(target_ / "d/c").st_ino);
    EXPECT_EQ(status_of(target_ / "s").st_ino, status_of(target_ / "t").st_ino);
}

TEST_F(RestoreTest, OneInodeNumberOnDifferentContentsIsNotOneFile) {
    Node p = maker_.file("p", "first"), q = maker_.file("q", "second");
    p.links = q.links = 2;
    q.inode = p.inode;
    restore({p, q});
    EXPECT_EQ(read_file(target_ / "p"), "first");
    EXPECT_EQ(read_file(target_ / "q"), "second");
}

TEST_F(RestoreTest, SelectedPathsLandByTheirNamesOrByTheirFullPaths) {
    const RevisionId revision = maker_.commit({maker_.dir(
        "home", {maker_.dir("a", {maker_.file("x", "1"), maker_.dir("y", {maker_.file("z", "2")})}),
                 maker_.file("b", "3")})});
    RestoreRequest wanted = request(revision);
    wanted.paths = {"/home/a/x", "/home/a/y"};
    restore(wanted);
    EXPECT_EQ(read_file(target_ / "x"), "1");
    EXPECT_EQ(read_file(target_ / "y/z"), "2");
    EXPECT_FALSE(fs::exists(target_ / "home"));
    wanted.full_paths = true;
    const RestoreCounts counts = restore(wanted);
    expect_no_exceptions();
    EXPECT_EQ(counts.created, 5u);
    EXPECT_EQ(read_file(target_ / "home/a/x"), "1");
    EXPECT_EQ(read_file(target_ / "home/a/y/z"), "2");
    EXPECT_FALSE(fs::exists(target_ / "home/b"));
    EXPECT_EQ(status_of(target_ / "home").st_mtim.tv_sec, kThen.seconds);
    EXPECT_EQ(status_of(target_ / "home/a").st_mtim.tv_nsec, kThen.nanoseconds);
}

TEST_F(RestoreTest, SelectedPathsKnowWhereTheyLie) {
    const std::string above(100, 'a'), below(100, 'b');
    const RevisionId revision = maker_.commit(
        {maker_.dir(above, {maker_.dir(below, {maker_.dir("c", {maker_.file("x", "1")})})})});
    const BlobId root = maker_.repository().load_revision(revision)->tree;
    const std::string parent = "/" + above + "/" + below + "/c";
    auto selected = select_paths(maker_.repository(), root, {parent + "/x"}, false);
    ASSERT_TRUE(selected.ok());
    ASSERT_EQ(selected->size(), 1u);
    EXPECT_EQ(selected->front().parent_path, parent);
    ASSERT_EQ(selected->front().passages.size(), 3u);
    EXPECT_EQ(selected->front().passages[1].name, below);
}

TEST_F(RestoreTest, ParentsThatExistKeepTheirMetadata) {
    const RevisionId revision = maker_.commit({maker_.dir("home", {maker_.file("x", "1")})});
    fs::create_directory(target_ / "home");
    fs::permissions(target_ / "home", fs::perms(0711));
    RestoreRequest wanted = request(revision);
    wanted.paths = {"/home/x"};
    wanted.full_paths = true;
    wanted.on_conflict = ConflictMode::replace;
    restore(wanted);
    EXPECT_EQ(read_file(target_ / "home/x"), "1");
    EXPECT_EQ(status_of(target_ / "home").st_mode & 07777, 0711u);
    EXPECT_NE(status_of(target_ / "home").st_mtim.tv_sec, kThen.seconds);
}

TEST_F(RestoreTest, UnknownPathsAndRevisionsAreNamed) {
    RestoreRequest wanted = request(maker_.commit({maker_.file("x", "1")}));
    wanted.paths = {"/x/y"};
    Result<RestoreResult> result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::no_such_path);
    wanted.paths = {"/nowhere"};
    result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::no_such_path);
    wanted.revision.bytes[0] ^= 1;
    result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::no_such_revision);
    EXPECT_TRUE(fs::is_empty(target_));
}

TEST_F(RestoreTest, TwoPathsThatLandUnderOneNameAreRefused) {
    RestoreRequest wanted = request(maker_.commit(
        {maker_.dir("a", {maker_.file("x", "1")}), maker_.dir("b", {maker_.file("x", "2")})}));
    wanted.paths = {"/a/x", "/b/x"};
    Result<RestoreResult> result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::invalid_arguments);
    EXPECT_TRUE(fs::is_empty(target_));
}

// ---- conflicts

class RestoreConflictTest : public RestoreTest {
  protected:
    // The revision holds d/same, d/other and d/fresh; the target has the first two, one of them
    // altered.
    RestoreRequest conflicting(ConflictMode mode, std::int64_t existing_mtime = 1'700'000'000) {
        RestoreRequest wanted = request(maker_.commit({maker_.dir(
            "d", {maker_.file("fresh", "fresh"), maker_.file("other.txt", "from the revision"),
                  maker_.file("same", "same")})}));
        RestoreRequest before = wanted;
        before.paths = {"/d"};
        restore(before);
        fs::remove(target_ / "d/fresh");
        write_file(target_ / "d/other.txt", "of today");
        const timespec times[2] = {{existing_mtime, 0}, {existing_mtime, 0}};
        EXPECT_EQ(::utimensat(AT_FDCWD, (target_ / "d/other.txt").c_str(), times, 0), 0);
        wanted.on_conflict = mode;
        return wanted;
    }
    fs::path kept() const {
        for (const auto& entry : fs::directory_iterator(target_ / "d"))
            if (entry.path().string().find(" (backup 2026-11-20 ") != std::string::npos)
                return entry.path();
        return {};
    }
};

TEST_F(RestoreConflictTest, FailWritesNothingAtAllAndNamesTheConflicts) {
    const RestoreRequest wanted = conflicting(ConflictMode::fail);
    const auto before = picture(target_);
    Result<RestoreResult> result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(result.error().code(), ErrorCode::conflict);
    EXPECT_NE(result.error().message().find("1 object"), std::string::npos);
    EXPECT_TRUE(has_exception("/d/other.txt", ErrorKind::conflict));
    EXPECT_EQ(exceptions().size(), 1u);
    EXPECT_EQ(picture(target_), before);
}

TEST_F(RestoreConflictTest, IdenticalObjectsAreNoConflictAndFetchNothing) {
    const RevisionId revision =
        maker_.commit({maker_.dir("d", {maker_.file("a", "1"), maker_.symlink("l", "a")})});
    restore(request(revision));
    const auto before = picture(target_);
    const RestoreCounts again = restore(request(revision));
    expect_no_exceptions();
    EXPECT_EQ(again.unchanged, 3u);
    EXPECT_EQ(again.created + again.replaced + again.failed, 0u);
    EXPECT_EQ(again.bytes_fetched, 0u);
    EXPECT_EQ(picture(target_), before);
}

TEST_F(RestoreConflictTest, DifferentMetadataIsAConflictToo) {
    const RevisionId revision = maker_.commit({maker_.file("a", "1")});
    restore(request(revision));
    fs::permissions(target_ / "a", fs::perms(0600));
    Result<RestoreResult> result = run(request(revision));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::conflict);
}

TEST_F(RestoreConflictTest, SkipKeepsWhatIsThereAndAddsTheRest) {
    const RestoreCounts counts = restore(conflicting(ConflictMode::skip));
    EXPECT_EQ(counts.skipped, 1u);
    EXPECT_EQ(counts.created, 1u);
    EXPECT_EQ(read_file(target_ / "d/other.txt"), "of today");
    EXPECT_EQ(read_file(target_ / "d/fresh"), "fresh");
}

TEST_F(RestoreConflictTest, ReplaceGivesTheRevisionsContent) {
    const RestoreCounts counts = restore(conflicting(ConflictMode::replace));
    EXPECT_EQ(counts.replaced, 2u);  // the file, and the times of the directory
    EXPECT_EQ(counts.created, 1u);
    EXPECT_EQ(counts.unchanged, 1u);
    EXPECT_EQ(read_file(target_ / "d/other.txt"), "from the revision");
    EXPECT_EQ(status_of(target_ / "d").st_mtim.tv_sec, kThen.seconds);
}

TEST_F(RestoreConflictTest, NewerReplacesOnlyWhatIsOlder) {
    restore(conflicting(ConflictMode::newer));
    EXPECT_EQ(read_file(target_ / "d/other.txt"), "of today");
    fs::remove_all(target_ / "d");
    restore(conflicting(ConflictMode::newer, 1'500'000'000));
    EXPECT_EQ(read_file(target_ / "d/other.txt"), "from the revision");
}

TEST_F(RestoreConflictTest, KeepBothWritesBesideAndIsRecognisedTheNextTime) {
    const RestoreRequest wanted = conflicting(ConflictMode::keep_both);
    EXPECT_EQ(restore(wanted).kept_both, 1u);
    EXPECT_EQ(read_file(target_ / "d/other.txt"), "of today");
    ASSERT_FALSE(kept().empty());
    EXPECT_TRUE(kept().filename().string().starts_with("other (backup "));
    EXPECT_EQ(kept().extension(), ".txt");
    EXPECT_EQ(read_file(kept()), "from the revision");
    const auto before = picture(target_);
    const RestoreCounts again = restore(wanted);
    EXPECT_EQ(again.kept_both, 0u);
    EXPECT_EQ(again.bytes_fetched, 0u);
    EXPECT_EQ(picture(target_), before);
}

TEST_F(RestoreConflictTest, RightContentWithWrongTimeIsNotFetchedByReplace) {
    const RevisionId revision = maker_.commit({maker_.file("big", noise(500'000, 1), 100'000)});
    restore(request(revision));
    const ino_t before = status_of(target_ / "big").st_ino;
    const timespec times[2] = {{1, 0}, {1, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (target_ / "big").c_str(), times, 0), 0);
    RestoreRequest wanted = request(revision);
    wanted.on_conflict = ConflictMode::replace;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.bytes_fetched, 0u);
    EXPECT_EQ(counts.replaced, 1u);
    EXPECT_EQ(status_of(target_ / "big").st_ino, before);
    EXPECT_EQ(status_of(target_ / "big").st_mtim.tv_sec, kThen.seconds);
}

TEST_F(RestoreConflictTest, ReplaceIsNotDeceivedByEqualSizeAndTime) {
    const RevisionId revision = maker_.commit({maker_.file("a", "right")});
    restore(request(revision));
    write_file(target_ / "a", "wrong");
    const timespec times[2] = {{kThen.seconds, kThen.nanoseconds},
                               {kThen.seconds, kThen.nanoseconds}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (target_ / "a").c_str(), times, 0), 0);
    RestoreRequest wanted = request(revision);
    wanted.on_conflict = ConflictMode::replace;
    restore(wanted);
    EXPECT_EQ(read_file(target_ / "a"), "right");
}

TEST_F(RestoreConflictTest, ReplacingAHardLinkedFileLeavesItsOtherNamesAlone) {
    write_file(target_ / "a", "old");
    fs::create_hard_link(target_ / "a", target_ / "other-name");
    restore({maker_.file("a", "new")}, ConflictMode::replace);
    EXPECT_EQ(read_file(target_ / "a"), "new");
    EXPECT_EQ(read_file(target_ / "other-name"), "old");
}

TEST_F(RestoreConflictTest, TypesChangeOnlyWithReplace) {
    fs::create_directory(target_ / "file-now-directory");
    fs::create_symlink("/nowhere", target_ / "file-now-link");
    write_file(target_ / "directory-now-file", "x");
    const auto before = picture(target_);
    const RevisionId revision =
        maker_.commit({maker_.dir("directory-now-file", {maker_.file("in", "1")}),
                       maker_.file("file-now-directory", "2"), maker_.file("file-now-link", "3")});
    for (ConflictMode mode : {ConflictMode::fail, ConflictMode::skip, ConflictMode::newer}) {
        RestoreRequest wanted = request(revision);
        wanted.on_conflict = mode;
        (void)run(wanted).ok();
        EXPECT_EQ(picture(target_), before) << to_string(mode);
    }
    RestoreRequest wanted = request(revision);
    wanted.on_conflict = ConflictMode::replace;
    restore(wanted);
    expect_no_exceptions();
    EXPECT_EQ(read_file(target_ / "directory-now-file/in"), "1");
    EXPECT_EQ(read_file(target_ / "file-now-directory"), "2");
    EXPECT_EQ(read_file(target_ / "file-now-link"), "3");
    EXPECT_FALSE(fs::is_symlink(target_ / "file-now-link"));
    expect_no_temp_files();
}

TEST_F(RestoreConflictTest, ADirectoryWithEntriesIsNotReplacedByAFile) {
    fs::create_directory(target_ / "a");
    write_file(target_ / "a/precious", "x");
    const RestoreCounts counts =
        restore({maker_.file("a", "1"), maker_.file("b", "2")}, ConflictMode::replace);
    EXPECT_EQ(counts.failed, 1u);
    EXPECT_TRUE(has_exception("/a", ErrorKind::conflict));
    EXPECT_EQ(read_file(target_ / "a/precious"), "x");
    EXPECT_EQ(read_file(target_ / "b"), "2");
}

TEST_F(RestoreConflictTest, ADryRunCountsWhatTheRunThenDoesAndWritesNothing) {
    for (ConflictMode mode : {ConflictMode::keep_both, ConflictMode::skip, ConflictMode::newer,
                              ConflictMode::replace}) {
        RestoreRequest wanted = conflicting(mode);
        const auto before = picture(target_);
        wanted.dry_run = true;
        const RestoreCounts dry = restore(wanted);
        EXPECT_EQ(picture(target_), before) << to_string(mode);
        wanted.dry_run = false;
        const RestoreCounts wet = restore(wanted);
        EXPECT_EQ(dry.created, wet.created) << to_string(mode);
        EXPECT_EQ(dry.replaced, wet.replaced) << to_string(mode);
        EXPECT_EQ(dry.kept_both, wet.kept_both) << to_string(mode);
        EXPECT_EQ(dry.skipped, wet.skipped) << to_string(mode);
        EXPECT_EQ(dry.unchanged, wet.unchanged) << to_string(mode);
        EXPECT_EQ(dry.failed, wet.failed) << to_string(mode);
        EXPECT_EQ(dry.files, wet.files) << to_string(mode);
        EXPECT_EQ(dry.directories, wet.directories) << to_string(mode);
        EXPECT_EQ(dry.bytes, wet.bytes) << to_string(mode);
        EXPECT_EQ(dry.bytes_fetched, wet.bytes_fetched) << to_string(mode);
        fs::remove_all(target_ / "d");
    }
}

TEST_F(RestoreConflictTest, AnUnfinishedDirectoryOfAnEarlierRunIsFinished) {
    fs::create_directory(target_ / "d");
    fs::permissions(target_ / "d", fs::perms(0700));
    if (::setxattr((target_ / "d").c_str(), "user.backupd.unfinished", "", 0, 0) != 0)
        GTEST_SKIP() << "no extended attributes here";
    restore({maker_.dir("d", {maker_.file("a", "1")})});
    EXPECT_EQ(status_of(target_ / "d").st_mode & 07777, 0755u);
    EXPECT_EQ(status_of(target_ / "d").st_mtim.tv_sec, kThen.seconds);
    char value[1];
    EXPECT_LT(::getxattr((target_ / "d").c_str(), "user.backupd.unfinished", value, 1), 0);
}

// ---- hostile or damaged

TEST_F(RestoreTest, NoSymbolicLinkInTheTargetIsFollowed) {
    const fs::path outside = scratch_.path() + "/outside";
    fs::create_directory(outside);
    write_file(outside / "f", "alive");
    fs::create_symlink("../outside", target_ / "d");
    const auto before = picture(outside);
    const RevisionId revision = maker_.commit({maker_.dir("d", {maker_.file("f", "evil")})});
    for (ConflictMode mode : {ConflictMode::fail, ConflictMode::keep_both, ConflictMode::skip,
                              ConflictMode::newer, ConflictMode::replace}) {
        RestoreRequest wanted = request(revision);
        wanted.on_conflict = mode;
        (void)run(wanted).ok();
        EXPECT_EQ(picture(outside), before) << to_string(mode);
    }
}

TEST_F(RestoreTest, ALinkInPlaceOfAParentIsNeverReplaced) {
    fs::create_directory(scratch_.path() + "/outside");
    fs::create_symlink("../outside", target_ / "home");
    RestoreRequest wanted = request(maker_.commit({maker_.dir("home", {maker_.file("x", "1")})}));
    wanted.paths = {"/home/x"};
    wanted.full_paths = true;
    wanted.on_conflict = ConflictMode::replace;
    const RestoreCounts counts = restore(wanted);
    EXPECT_TRUE(has_exception("/home", ErrorKind::conflict));
    EXPECT_GE(counts.failed, 1u);
    EXPECT_TRUE(fs::is_symlink(target_ / "home"));
    EXPECT_TRUE(fs::is_empty(scratch_.path() + "/outside"));
}

TEST_F(RestoreTest, ADamagedBlobCostsOnlyTheFilesThatNeedIt) {
    const std::string block = noise(20'000, 1);
    const Node broken = maker_.file("broken", noise(20'000, 2) + block + noise(20'000, 3), 20'000);
    const RevisionId revision =
        maker_.commit({broken, maker_.file("fine", noise(30'000, 5)), maker_.file("too", block)});
    maker_.damage({BlobType::data, broken.content[1]});
    write_file(target_ / "broken", "the old one");
    RestoreRequest wanted = request(revision);
    wanted.on_conflict = ConflictMode::replace;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.failed, 2u);
    EXPECT_TRUE(has_exception("/broken", ErrorKind::corrupt));
    EXPECT_TRUE(has_exception("/too", ErrorKind::corrupt));
    EXPECT_EQ(read_file(target_ / "broken"), "the old one");
    EXPECT_FALSE(fs::exists(target_ / "too"));
    EXPECT_EQ(read_file(target_ / "fine"), noise(30'000, 5));
    expect_no_temp_files();
}

TEST_F(RestoreTest, LinksToADamagedFileAreNamedToo) {
    Node a = maker_.file("a", "lost"), b = maker_.file("b", "lost");
    a.links = b.links = 2;
    b.inode = a.inode;
    const RevisionId revision = maker_.commit({a, b});
    maker_.damage({BlobType::data, a.content[0]});
    restore(request(revision));
    EXPECT_TRUE(has_exception("/a", ErrorKind::corrupt));
    EXPECT_TRUE(has_exception("/b", ErrorKind::corrupt));
    EXPECT_TRUE(fs::is_empty(target_));
}

TEST_F(RestoreTest, ADirectoryThatCannotBeReadIsNotMade) {
    const Node lost = maker_.dir("lost", {maker_.file("x", "1")});
    const RevisionId revision = maker_.commit({lost, maker_.file("fine", "2")});
    maker_.damage({BlobType::tree, *lost.subtree});
    restore(request(revision));
    EXPECT_TRUE(has_exception("/lost", ErrorKind::corrupt));
    EXPECT_FALSE(fs::exists(target_ / "lost"));
    EXPECT_EQ(read_file(target_ / "fine"), "2");
}

TEST_F(RestoreTest, SizesThatLieAreReportedAndNothingIsWritten) {
    Node small = maker_.file("small", "hello"), huge = maker_.file("huge", "hello");
    small.size = 1;
    huge.size = std::uint64_t{1} << 60;
    restore({huge, small});
    EXPECT_TRUE(has_exception("/small", ErrorKind::corrupt));
    EXPECT_TRUE(has_exception("/huge", ErrorKind::corrupt));
    EXPECT_TRUE(fs::is_empty(target_));
}

TEST_F(RestoreTest, ANameThatStandsTwiceIsUsedOnce) {
    const std::string link =
        R"({"name":"x","type":"symlink","mode":134218239,"mtime":"2020-01-01T00:00:00Z",)"
        R"("atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,)"
        R"("linktarget":"../outside","content":null})";
    const std::string directory =
        R"({"name":"x","type":"dir","mode":2147484141,"mtime":"2020-01-01T00:00:00Z",)"
        R"("atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z","uid":0,"gid":0,)"
        R"("content":null,"subtree":")" +
        maker_.dir("x", {maker_.file("f", "evil")}).subtree->hex() + "\"}";
    restore({maker_.dir_with_tree("d", "{\"nodes\":[" + link + "," + directory + "]}\n"),
             maker_.dir_with_tree("e", "{\"nodes\":[" + directory + "," + link + "]}\n")});
    EXPECT_TRUE(has_exception("/d", ErrorKind::corrupt));
    EXPECT_TRUE(has_exception("/e", ErrorKind::corrupt));
    EXPECT_FALSE(fs::exists(scratch_.path() + "/outside"));
}

TEST_F(RestoreTest, WhatCannotBeRestoredIsNamed) {
    Node odd = maker_.special("odd", NodeType::unknown, S_IFREG);
    odd.type_text = "wormhole";
    restore({odd, maker_.file("fine", "1"), maker_.special("socket", NodeType::socket, S_IFSOCK)});
    EXPECT_TRUE(has_exception("/odd", ErrorKind::invalid));
    EXPECT_TRUE(has_exception("/socket", ErrorKind::invalid));
    EXPECT_EQ(read_file(target_ / "fine"), "1");
}

TEST_F(RestoreTest, DevicesNeedPrivilege) {
    restore({maker_.special("null", NodeType::chardev, S_IFCHR, ::makedev(1, 3))});
    if (::geteuid() == 0 && exceptions().empty()) {
        EXPECT_EQ(status_of(target_ / "null").st_mode, S_IFCHR | 0640u);
        EXPECT_EQ(status_of(target_ / "null").st_rdev, ::makedev(1, 3));
    } else {
        EXPECT_TRUE(has_exception("/null", ErrorKind::denied));
        EXPECT_FALSE(fs::exists(target_ / "null"));
    }
}

TEST_F(RestoreTest, OwnersThatCannotBeSetAreListedOnceAndLoseSetuid) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may set any owner";
    Node a = maker_.file("a", "1"), b = maker_.file("b", "2");
    a.uid = b.uid = 0;
    a.mode = go_mode(S_IFREG | 04755);
    restore({a, b});
    EXPECT_EQ(read_file(target_ / "b"), "2");
    EXPECT_EQ(status_of(target_ / "a").st_mode & 07777, 0755u);
    EXPECT_EQ(exceptions().size(), 2u);  // owner, and setuid of one
}

TEST_F(RestoreTest, ADeepTreeNeedsNeitherStackNorDescriptors) {
    constexpr int kDepth = 600;
    Node deepest = maker_.dir("d", {maker_.file("f", "bottom")});
    for (int i = 1; i < kDepth; ++i) deepest = maker_.dir("d", {deepest});
    const RestoreCounts counts = restore({deepest});
    expect_no_exceptions();
    EXPECT_EQ(counts.directories, static_cast<std::uint64_t>(kDepth));
    EXPECT_EQ(counts.files, 1u);
}

// ---- ends

TEST_F(RestoreTest, ACancelledRestoreLeavesWholeFilesAndNoTemporaryOnes) {
    std::map<std::string, std::string> wanted;
    std::vector<Node> root;
    for (unsigned i = 0; i < 400; ++i) {
        const std::string name = "f" + std::to_string(1000 + i);
        wanted[name] = noise(20'000, i);
        root.push_back(maker_.file(name, wanted[name], 5000));
    }
    const RestoreRequest request = this->request(maker_.commit(root));
    std::stop_source stop;
    Progress progress;
    ExceptionLog log(progress);
    std::jthread canceller([&] {
        // As soon as content flows; without waiting should the restore be over already.
        while (progress.bytes_done == 0)
            if (stop.stop_requested()) return;
        stop.request_stop();
    });
    Result<RestoreResult> result =
        run_restore(request, maker_.repository(), progress, log, stop.get_token());
    stop.request_stop();
    canceller.join();
    if (!result.ok()) {
        EXPECT_EQ(result.error().kind(), ErrorKind::cancelled);
    }
    for (const auto& entry : fs::directory_iterator(target_))
        EXPECT_EQ(read_file(entry.path()), wanted[entry.path().filename()]);
    expect_no_temp_files();
}

TEST_F(RestoreTest, ACancelBeforeTheBeginWritesNothing) {
    std::stop_source stop;
    stop.request_stop();
    Result<RestoreResult> result =
        run(request(maker_.commit({maker_.file("a", "1")})), stop.get_token());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::cancelled);
    EXPECT_TRUE(fs::is_empty(target_));
}

TEST_F(RestoreTest, LeftoversOfADeadRunAreRemovedWhereItWrites) {
    std::string dead = temp_name_of_process(static_cast<std::uint64_t>(::getpid()));
    char& boot_digit = dead[std::string(".backupd-").size() + 6];
    boot_digit = boot_digit == '0' ? '1' : '0';
    fs::create_directory(target_ / "d");
    write_file(target_ / "d" / dead, "half a file");
    restore({maker_.dir("d", {maker_.file("a", "1")})});
    EXPECT_FALSE(fs::exists(target_ / "d" / dead));
    EXPECT_EQ(read_file(target_ / "d/a"), "1");
}

TEST_F(RestoreTest, VerifyReadsBackAndFindsNothingWrong) {
    RestoreRequest wanted = request(
        maker_.commit({maker_.file("a", noise(100'000, 1), 7000),
                       maker_.file("b", std::string(100'000, '\0')), maker_.file("c", "")}));
    wanted.verify = true;
    EXPECT_EQ(restore(wanted).created, 3u);
    expect_no_exceptions();
    EXPECT_EQ(read_file(target_ / "a"), noise(100'000, 1));
}

TEST_F(RestoreTest, ATargetThatIsNoDirectoryIsRefused) {
    RestoreRequest wanted = request(maker_.commit({maker_.file("a", "1")}));
    wanted.target_fd = -1;
    Result<RestoreResult> result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::invalid_arguments);
}

TEST_F(RestoreTest, ATargetThatMayNotBeWrittenIsRefusedBeforeAnythingIsFetched) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
    const RestoreRequest wanted = request(maker_.commit({maker_.file("a", "1")}));
    fs::permissions(target_, fs::perms(0500));
    Result<RestoreResult> result = run(wanted);
    fs::permissions(target_, fs::perms(0700));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind(), ErrorKind::denied);
}

// ---- nodes

class NodesTest : public RestoreTest {};

TEST_F(NodesTest, AreFoundByPath) {
    const RevisionId revision =
        maker_.commit({maker_.dir("home", {maker_.dir("a", {maker_.file("x", "1")})})});
    Repository& repository = maker_.repository();
    const BlobId root = repository.load_revision(revision)->tree;
    EXPECT_EQ(find_node(repository, root, "/")->node.type, NodeType::dir);
    Result<FoundNode> found = find_node(repository, root, "/home/a/x");
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->path, "/home/a/x");
    EXPECT_EQ(found->node.name, "x");
    for (const char* missing : {"/nowhere", "/home/b", "/home/a/x/y"}) {
        Result<FoundNode> none = find_node(repository, root, missing);
        ASSERT_FALSE(none.ok());
        EXPECT_EQ(none.error().code(), ErrorCode::no_such_path);
    }
    EXPECT_FALSE(find_node(repository, root, "home").ok());
}

TEST_F(NodesTest, AreVisitedInOrderDepthFirst) {
    const RevisionId revision = maker_.commit(
        {maker_.dir("a", {maker_.file("x", "1"), maker_.dir("y", {maker_.file("z", "2")})}),
         maker_.file("b", "3")});
    Repository& repository = maker_.repository();
    const FoundNode root =
        find_node(repository, repository.load_revision(revision)->tree, "/").value();
    const auto visited = [&](const FoundNode& start, bool recursive) {
        std::vector<std::string> paths;
        EXPECT_TRUE(visit_nodes(repository, start, recursive,
                                [&](const std::string& path, const Node&) {
                                    paths.push_back(path);
                                    return Result<>();
                                },
                                {})
                        .ok());
        return paths;
    };
    using Paths = std::vector<std::string>;
    EXPECT_EQ(visited(root, false), (Paths{"/a", "/b"}));
    EXPECT_EQ(visited(root, true), (Paths{"/a", "/a/x", "/a/y", "/a/y/z", "/b"}));
    const BlobId tree = *root.node.subtree;
    EXPECT_EQ(visited(*find_node(repository, tree, "/b"), true), Paths{"/b"});
    EXPECT_EQ(visited(*find_node(repository, tree, "/a/y"), true), Paths{"/a/y/z"});
}

TEST_F(NodesTest, ContentIsReadInOrderAndDamageIsAnError) {
    const std::string content = noise(100'000, 9);
    const Node file = maker_.file("f", content, 7000);
    const RevisionId revision = maker_.commit({file});
    ASSERT_TRUE(maker_.repository().load_revision(revision).ok());
    std::string read;
    const auto take = [&](ByteView part) {
        read += as_text(part);
        return Result<>();
    };
    ASSERT_TRUE(maker_.repository().refresh_index({}).ok());
    EXPECT_TRUE(read_content(maker_.repository(), file, take, {}).ok());
    EXPECT_EQ(read, content);
    maker_.damage({BlobType::data, file.content[5]});
    read.clear();
    Result<> broken = read_content(maker_.repository(), file, take, {});
    ASSERT_FALSE(broken.ok());
    EXPECT_EQ(broken.error().kind(), ErrorKind::corrupt);
    EXPECT_EQ(read, content.substr(0, 35'000));
}

}  // namespace
}  // namespace backup
