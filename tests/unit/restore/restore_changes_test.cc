// What a restore touches: planned, told, kept first, and nothing else.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <set>

#include <sys/xattr.h>

#include "daemon/restore/stamps.h"
#include "tests/unit/restore/restore_fixture.h"

namespace backup {
namespace {

using Paths = std::set<std::string>;

// Keeps what it is told, and how much of it was durable when.
class TestLog final : public ChangeLog {
  public:
    void will_create(std::string_view path, std::string_view source) override {
        created.emplace(path);
        sources.emplace(source);
    }
    void will_change_entries(std::string_view path, const timespec& mtime) override {
        entries.emplace(std::string(path), mtime.tv_sec);
    }
    void will_alter(std::string_view path) override { altered.emplace(path); }
    void left(std::string_view path, const timespec& mtime) override {
        after.emplace(std::string(path), mtime.tv_sec);
    }
    Result<> sync() override {
        ++syncs;
        if (fails) return Error(ErrorKind::io, "no room");
        return {};
    }

    Paths created, sources, altered;
    std::map<std::string, std::int64_t> entries, after;
    int syncs = 0;
    bool fails = false;
};

class ChangesTest : public RestoreTest {
  protected:
    // d/{a,b,sub/c} as in the revision; then a is edited, b gone, sub/extra and more/x are new.
    RestoreRequest arranged(ConflictMode mode) {
        RestoreRequest wanted = request(
            maker_.commit({maker_.dir("d", {maker_.file("a", "old a"), maker_.file("b", "old b"),
                                            maker_.dir("sub", {maker_.file("c", "old c")})})}));
        wanted.paths = {"/d"};
        restore(wanted);
        write_file(target_ / "d/a", "edited");
        fs::remove(target_ / "d/b");
        write_file(target_ / "d/sub/extra", "extra");
        fs::create_directory(target_ / "d/more");
        write_file(target_ / "d/more/x", "x");
        write_file(target_ / "beside", "not below");
        wanted.on_conflict = mode;
        wanted.change_log = &log_of_changes_;
        wanted.protect = [this](const std::vector<TouchedObject>& touched) {
            for (const TouchedObject& one : touched) protected_.insert(one.path);
            if (before_) {
                EXPECT_EQ(picture(target_), *before_);
            }
            return answer_;
        };
        before_ = picture(target_);
        return wanted;
    }

    TestLog log_of_changes_;
    Paths protected_;
    std::optional<std::map<std::string, std::string>> before_;
    Result<std::unordered_set<std::string>> answer_ = std::unordered_set<std::string>();
};

TEST_F(ChangesTest, WhatIsReplacedIsKeptBeforeAnythingChanges) {
    restore(arranged(ConflictMode::replace));
    EXPECT_TRUE(protected_.contains("/d/a"));
    EXPECT_FALSE(protected_.contains("/d/b"));
    EXPECT_FALSE(protected_.contains("/d/sub/c"));
    EXPECT_FALSE(protected_.contains("/d/sub/extra"));
    EXPECT_EQ(read_file(target_ / "d/a"), "old a");
}

TEST_F(ChangesTest, NothingIsKeptWhereNothingIsTouched) {
    restore(arranged(ConflictMode::skip));
    EXPECT_TRUE(protected_.empty());
    EXPECT_EQ(read_file(target_ / "d/b"), "old b");
    EXPECT_EQ(log_of_changes_.created, Paths{"/d/b"});
    EXPECT_EQ(log_of_changes_.sources, Paths{"/d/b"});
}

TEST_F(ChangesTest, WhatCannotBeKeptEndsItWithNothingChanged) {
    const RestoreRequest wanted = arranged(ConflictMode::replace);
    answer_ = Error(ErrorKind::no_space, ErrorCode::no_space, "the storage is full");
    Result<RestoreResult> result = run(wanted);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code(), ErrorCode::conflict);
    EXPECT_NE(result.error().message().find("the storage is full"), std::string::npos);
    EXPECT_EQ(picture(target_), *before_);
}

TEST_F(ChangesTest, AChangeLogThatCannotBeWrittenEndsItBeforeTheChange) {
    const RestoreRequest wanted = arranged(ConflictMode::replace);
    log_of_changes_.fails = true;
    EXPECT_FALSE(run(wanted).ok());
    EXPECT_EQ(picture(target_), *before_);
    expect_no_temp_files();
}

TEST_F(ChangesTest, DirectoriesInWhichSomethingChangesAreToldWithTheirTimesBeforeAndAfter) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    const timespec times[2] = {{5, 0}, {5, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (target_ / "d").c_str(), times, 0), 0);
    before_.reset();
    restore(wanted);
    ASSERT_TRUE(log_of_changes_.entries.contains("/d"));
    EXPECT_EQ(log_of_changes_.entries.at("/d"), 5);
    EXPECT_EQ(log_of_changes_.after.at("/d"), kThen.seconds);
    EXPECT_TRUE(log_of_changes_.altered.contains("/d"));
    EXPECT_FALSE(log_of_changes_.entries.contains("/d/more"));
}

TEST_F(ChangesTest, DeletingTakesWhatTheRevisionLacksBelowThePathAndNothingBeside) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.delete_others = true;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.deleted, 3u);  // sub/extra, more/x, more
    EXPECT_TRUE(protected_.contains("/d/more/x"));
    EXPECT_TRUE(protected_.contains("/d/sub/extra"));
    EXPECT_FALSE(fs::exists(target_ / "d/more"));
    EXPECT_FALSE(fs::exists(target_ / "d/sub/extra"));
    EXPECT_TRUE(fs::exists(target_ / "beside"));
    EXPECT_EQ(log_of_changes_.entries.count("/d/more"), 1u);
}

TEST_F(ChangesTest, WhatIsSparedStaysWithTheDirectoriesAboveIt) {
    RestoreRequest wanted = arranged(ConflictMode::skip);
    wanted.delete_others = true;
    wanted.spares = [](const std::string& source, const std::string& path, bool) {
        EXPECT_EQ(source, path);
        return source == "/d/more/x";
    };
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.deleted, 1u);
    EXPECT_EQ(counts.spared, 1u);
    EXPECT_TRUE(fs::exists(target_ / "d/more/x"));
    EXPECT_FALSE(fs::exists(target_ / "d/sub/extra"));
}

TEST_F(ChangesTest, NoSymbolicLinkIsFollowedWhenThingsAreRemoved) {
    RestoreRequest wanted = arranged(ConflictMode::skip);
    fs::create_directory(scratch_.path() + "/outside");
    write_file(scratch_.path() + "/outside/canary", "alive");
    fs::create_directory_symlink(scratch_.path() + "/outside", target_ / "d/link");
    before_.reset();
    wanted.delete_others = true;
    restore(wanted);
    EXPECT_FALSE(fs::exists(fs::symlink_status(target_ / "d/link")));
    EXPECT_EQ(read_file(scratch_.path() + "/outside/canary"), "alive");
}

TEST_F(ChangesTest, AFilledDirectoryGivesWayToAFileOnlyWhereDeletingIsAskedFor) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    write_file(target_ / "d/b", "");
    fs::remove(target_ / "d/b");
    fs::create_directory(target_ / "d/b");
    write_file(target_ / "d/b/inside", "inside");
    before_.reset();
    restore(wanted);
    EXPECT_TRUE(fs::is_directory(target_ / "d/b"));
    wanted.delete_others = true;
    protected_.clear();
    restore(wanted);
    EXPECT_EQ(read_file(target_ / "d/b"), "old b");
    EXPECT_TRUE(protected_.contains("/d/b"));
    EXPECT_TRUE(protected_.contains("/d/b/inside"));
}

TEST_F(ChangesTest, ADryRunListsTheStepsThatTheRunThenTakes) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.delete_others = true;
    wanted.dry_run = true;
    Result<RestoreResult> planned = run(wanted);
    ASSERT_TRUE(planned.ok());
    EXPECT_EQ(picture(target_), *before_);
    EXPECT_TRUE(protected_.empty());
    EXPECT_TRUE(log_of_changes_.created.empty());
    Paths steps;
    for (const PlannedStep& step : planned->steps) steps.insert(step.action + " " + step.path);
    for (const char* step : {"replace /d/a", "create /d/b", "delete /d/sub/extra",
                             "delete /d/more/x", "delete /d/more"})
        EXPECT_TRUE(steps.contains(step)) << step;
    EXPECT_GT(planned->counts.space_free, 0u);
    wanted.dry_run = false;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.created, planned->counts.created);
    EXPECT_EQ(counts.replaced, planned->counts.replaced);
    EXPECT_EQ(counts.unchanged, planned->counts.unchanged);
    EXPECT_EQ(counts.deleted, planned->counts.deleted);
    EXPECT_EQ(counts.bytes_fetched, planned->counts.bytes_fetched);
    EXPECT_EQ(counts.bytes_replaced, planned->counts.bytes_replaced);
}

TEST_F(ChangesTest, WhatChangedSinceThePlanIsSetAside) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.delete_others = true;
    wanted.protect = [this](const std::vector<TouchedObject>&) {
        write_file(target_ / "d/a", "edited meanwhile");
        write_file(target_ / "d/more/x", "edited, too");
        write_file(target_ / "d/sub/new", "new in a directory that was looked at");
        return answer_;
    };
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.set_aside, 3u);  // a, more/x, and more with it
    EXPECT_TRUE(has_exception("/d/a", ErrorKind::conflict));
    EXPECT_EQ(read_file(target_ / "d/a"), "edited meanwhile");
    EXPECT_EQ(read_file(target_ / "d/more/x"), "edited, too");
    EXPECT_TRUE(fs::exists(target_ / "d/sub/new"));
    EXPECT_FALSE(fs::exists(target_ / "d/sub/extra"));
    expect_no_temp_files();
}

TEST_F(ChangesTest, WhatCouldNotBeKeptAsItIsIsSetAside) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    answer_ = std::unordered_set<std::string>{"/d/a"};
    EXPECT_EQ(restore(wanted).set_aside, 1u);
    EXPECT_EQ(read_file(target_ / "d/a"), "edited");
}

TEST_F(ChangesTest, AFileThatIsOpenForWritingIsSetAside) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    UniqueFd reader(::open((target_ / "d/a").c_str(), O_RDONLY | O_CLOEXEC));
    UniqueFd writer(::open((target_ / "d/a").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    EXPECT_EQ(restore(wanted).set_aside, 1u);
    EXPECT_EQ(read_file(target_ / "d/a"), "edited");
    writer.reset();
    before_.reset();
    restore(wanted);  // readers are no hindrance
    EXPECT_EQ(read_file(target_ / "d/a"), "old a");
}

TEST_F(ChangesTest, ContentThatWasFoundRightIsReadOnceAndNotFetched) {
    RestoreRequest wanted = request(maker_.commit({maker_.file("a", "right")}));
    restore(wanted);
    const timespec times[2] = {{5, 0}, {5, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (target_ / "a").c_str(), times, 0), 0);
    wanted.on_conflict = ConflictMode::replace;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.replaced, 1u);
    EXPECT_EQ(counts.bytes_fetched, 0u);
    EXPECT_EQ(status_of(target_ / "a").st_mtim.tv_sec, kThen.seconds);
}

TEST_F(ChangesTest, HardLinksOfOneFileAreAllReplaced) {
    RestoreRequest wanted = request(maker_.commit({maker_.file("a", "1"), maker_.file("b", "2")}));
    write_file(target_ / "a", "shared");
    fs::create_hard_link(target_ / "a", target_ / "b");
    wanted.on_conflict = ConflictMode::replace;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.set_aside, 0u);
    EXPECT_EQ(read_file(target_ / "a") + read_file(target_ / "b"), "12");
}

TEST_F(ChangesTest, WhatIsNamedIsRemovedAndDirectoriesOnlyWhenNothingElseIsInThem) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.only_remove = true;
    wanted.remove = {{"/d", true}, {"/d/more", true}, {"/d/more/x", false}, {"/d/gone", false}};
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(counts.deleted, 2u);
    EXPECT_EQ(counts.set_aside, 1u);
    EXPECT_FALSE(fs::exists(target_ / "d/more"));
    EXPECT_TRUE(fs::exists(target_ / "d/a"));
}

TEST_F(ChangesTest, DirectoriesInWhichThingsAreRemovedHaveTheTimesOfTheRevisionInTheEnd) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.delete_others = true;
    restore(wanted);
    EXPECT_EQ(status_of(target_ / "d").st_mtim.tv_sec, kThen.seconds);
    EXPECT_EQ(status_of(target_ / "d/sub").st_mtim.tv_sec, kThen.seconds);
    EXPECT_EQ(log_of_changes_.after.at("/d/sub"), kThen.seconds);
}

TEST_F(ChangesTest, ADirectoryThatGotOtherMetadataSinceThePlanIsNotAltered) {
    RestoreRequest wanted = request(
        maker_.commit({maker_.dir("d", {maker_.file("a", "old a"), maker_.file("b", "old b")})}));
    restore(wanted);
    write_file(target_ / "d/a", "edited");
    const timespec times[2] = {{kThen.seconds, static_cast<long>(kThen.nanoseconds)},
                               {kThen.seconds, static_cast<long>(kThen.nanoseconds)}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (target_ / "d").c_str(), times, 0), 0);
    wanted.on_conflict = ConflictMode::replace;
    wanted.protect = [this](const std::vector<TouchedObject>& touched) {
        EXPECT_EQ(touched.size(), 1u);
        fs::permissions(target_ / "d", fs::perms::owner_all);
        return answer_;
    };
    restore(wanted);
    EXPECT_EQ(read_file(target_ / "d/a"), "old a");
    EXPECT_EQ(status_of(target_ / "d").st_mode & 07777, 0700u);
}

TEST_F(ChangesTest, NothingIsRemovedThatABindMountShows) {
    RestoreRequest wanted = arranged(ConflictMode::skip);
    const std::string outside = scratch_.path() + "/outside";
    fs::create_directory(outside);
    write_file(outside + "/canary", "alive");
    fs::create_directory(target_ / "d/more/shown");
    before_.reset();
    const Mount mount(outside.c_str(), target_ / "d/more/shown", nullptr, MS_BIND);
    if (!mount.is_there()) GTEST_SKIP() << "no right to mount";
    wanted.delete_others = true;
    const RestoreCounts counts = restore(wanted);
    EXPECT_EQ(read_file(outside + "/canary"), "alive");
    EXPECT_EQ(counts.spared, 1u);
    EXPECT_FALSE(protected_.contains("/d/more/shown/canary"));
    EXPECT_FALSE(fs::exists(target_ / "d/sub/extra"));
}

// The revision has the empty directory that a disk is mounted on, or a file of that name.
TEST_F(ChangesTest, NothingIsRemovedFromADiskThatIsMountedInWhatIsRestored) {
    for (const char* name : {"sub", "b"}) {
        RestoreRequest wanted = arranged(ConflictMode::replace);
        fs::create_directory(target_ / "d" / name);
        before_.reset();
        const Mount mount("none", target_ / "d" / name, "tmpfs", 0, "size=1m");
        if (!mount.is_there()) GTEST_SKIP() << "no right to mount";
        fs::create_directory(target_ / "d" / name / "deep");
        write_file(target_ / "d" / name / "deep/photo", "the only one");
        wanted.delete_others = true;
        restore(wanted);
        EXPECT_EQ(read_file(target_ / "d" / name / "deep/photo"), "the only one");
        EXPECT_FALSE(protected_.contains(std::string("/d/") + name + "/deep/photo"));
        EXPECT_EQ(read_file(target_ / "d/a"), "old a");
    }
}

TEST_F(ChangesTest, WhatIsAskedForMayBeADiskOfItsOwn) {
    fs::create_directory(target_ / "d");
    const Mount mount("none", target_ / "d", "tmpfs", 0, "size=1m");
    if (!mount.is_there()) GTEST_SKIP() << "no right to mount";
    RestoreRequest wanted = arranged(ConflictMode::replace);
    wanted.delete_others = true;
    EXPECT_EQ(restore(wanted).deleted, 3u);
    EXPECT_FALSE(fs::exists(target_ / "d/sub/extra"));
}

TEST_F(ChangesTest, ACopyThatWasRestoredBesideIsNotRemovedByTheNextRun) {
    RestoreRequest wanted = arranged(ConflictMode::keep_both);
    before_.reset();
    wanted.delete_others = true;
    const auto copies = [&] {
        Paths names;
        for (const auto& entry : fs::directory_iterator(target_ / "d"))
            names.insert(entry.path().filename().string());
        return names;
    };
    EXPECT_EQ(restore(wanted).kept_both, 1u);
    const Paths once = copies();
    EXPECT_EQ(once.size(), 4u);  // a, its copy, b, sub
    EXPECT_EQ(restore(wanted).deleted, 0u);
    EXPECT_EQ(copies(), once);
}

TEST_F(ChangesTest, AFileThatAnotherProgramHasLeasedForWritingIsSetAside) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    UniqueFd holder(::open((target_ / "d/a").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::fcntl(holder.get(), F_SETSIG, SIGURG), 0);
    wanted.protect = [&](const std::vector<TouchedObject>&) {
        EXPECT_EQ(::fcntl(holder.get(), F_SETLEASE, F_WRLCK), 0);
        return answer_;
    };
    EXPECT_EQ(restore(wanted).set_aside, 1u);
    holder.reset();  // else reading waits for it
    EXPECT_EQ(read_file(target_ / "d/a"), "edited");
}

TEST_F(ChangesTest, ASocketIsNotReplacedForItCouldNotBeGivenBack) {
    RestoreRequest wanted = arranged(ConflictMode::replace);
    ASSERT_EQ(::mknod((target_ / "d/b").c_str(), S_IFSOCK | 0600, 0), 0);
    before_.reset();
    EXPECT_EQ(restore(wanted).set_aside, 1u);
    EXPECT_TRUE(S_ISSOCK(status_of(target_ / "d/b").st_mode));
    EXPECT_EQ(read_file(target_ / "d/a"), "old a");
}

// As in an undo: what a restore created was replaced by the next one, and is in its revision.
TEST_F(ChangesTest, WhatIsNamedToGoAndIsInTheRevisionComesBackWithoutAWord) {
    RestoreRequest wanted = request(maker_.commit({maker_.file("a", "kept")}));
    write_file(target_ / "a", "created");
    wanted.on_conflict = ConflictMode::replace;
    wanted.remove = {{"/a", false}};
    const RestoreCounts counts = restore(wanted);
    expect_no_exceptions();
    EXPECT_EQ(counts.deleted, 0u);
    EXPECT_EQ(read_file(target_ / "a"), "kept");
}

// Two passes of one undo: what the first has given back may be older than what the second has.
TEST_F(ChangesTest, WhatIsLeftAloneForItsChangeMayHaveBeenChangedByUs) {
    RestoreRequest wanted =
        request(maker_.commit({maker_.file("a", "later"), maker_.file("b", "later")}));
    wanted.on_conflict = ConflictMode::replace;
    wanted.unchanged_since = SystemClock().now() - std::chrono::hours(1);
    wanted.is_ours = [](const std::string& path) { return path == "/a"; };
    write_file(target_ / "a", "given back a moment ago");
    write_file(target_ / "b", "edited by somebody");
    EXPECT_EQ(restore(wanted).set_aside, 1u);
    EXPECT_EQ(read_file(target_ / "a"), "later");
    EXPECT_EQ(read_file(target_ / "b"), "edited by somebody");
}

TEST(ObjectStamps, TellAChangedObjectFromTheSame) {
    const TempDirectory scratch;
    const std::string a = scratch.path() + "/a", b = scratch.path() + "/b";
    write_file(a, "1");
    write_file(b, "1");
    ObjectStamps stamps;
    stamps.add("/a", status_of(a));
    stamps.add("/d", status_of(scratch.path()));
    stamps.seal();
    EXPECT_TRUE(stamps.is_same("/a", status_of(a)));
    EXPECT_FALSE(stamps.is_same("/a", status_of(b)));
    EXPECT_FALSE(stamps.is_same("/b", status_of(b)));
    // The content alone, under the same times.
    const struct stat before = status_of(a);
    const timespec times[2] = {before.st_atim, before.st_mtim};
    write_file(a, "2");
    ASSERT_EQ(::utimensat(AT_FDCWD, a.c_str(), times, 0), 0);
    EXPECT_FALSE(stamps.is_same("/a", status_of(a)));
    // A directory is the same whatever comes into it.
    write_file(scratch.path() + "/c", "1");
    EXPECT_TRUE(stamps.is_same("/d", status_of(scratch.path())));
}

}  // namespace
}  // namespace backup
