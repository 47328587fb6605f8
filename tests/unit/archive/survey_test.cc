// What a survey tells about a source, and what it leaves alone.
#include "daemon/archive/survey.h"

#include <algorithm>
#include <map>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/flaky_backend.h"
#include "tests/unit/archive/archive_fixture.h"
#include "tests/unit/archive/marks.h"

namespace backup {

namespace {

using Names = std::vector<std::string>;

const char* word(SurveyFinding::Kind kind) {
    switch (kind) {
        case SurveyFinding::Kind::created:
            return "created";
        case SurveyFinding::Kind::gone:
            return "gone";
        case SurveyFinding::Kind::content:
            return "content";
        case SurveyFinding::Kind::metadata:
            return "metadata";
        case SurveyFinding::Kind::unproven:
            return "unproven";
        case SurveyFinding::Kind::unreadable:
            return "unreadable";
    }
    return "";
}

class SurveyTest : public ArchiveTest {
  protected:
    Result<SurveyCounts> try_survey(std::stop_token stop = {}) {
        found_.clear();
        survey_.set = &set_;
        survey_.revision = *request_.parent;
        survey_.fs = &fs_;
        survey_.found = [this](const SurveyFinding& finding) {
            std::string path = finding.directory + "/" + finding.name;
            if (path.starts_with(source_)) path = path.substr(source_.size());
            std::lock_guard lock(mutex_);
            found_.push_back(std::string(word(finding.kind)) + " " + path +
                             (finding.is_directory ? "/" : ""));
        };
        Progress progress;
        auto counts = run_survey(survey_, *repository_, progress, stop);
        std::ranges::sort(found_);
        return counts;
    }
    // Findings as "kind path", directories with a slash at the end.
    Names survey() {
        auto counts = try_survey();
        EXPECT_TRUE(counts.ok()) << counts.error().message();
        if (counts.ok()) {
            counts_ = *counts;
            EXPECT_EQ(counts_.findings, found_.size());
        }
        return found_;
    }
    void make_sample() {
        put("a/one", "1");
        put("a/two", "22");
        put("b/deep/three", "333");
        put("top", "4444");
        ASSERT_EQ(::symlink("top", at("link").c_str()), 0);
        ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
    }
    // As a change that left the times of the directory alone.
    void keep_times(const std::string& name, const std::function<void()>& change) {
        struct stat status;
        ASSERT_EQ(::stat(at(name).c_str(), &status), 0);
        change();
        timespec times[2] = {status.st_atim, status.st_mtim};
        ASSERT_EQ(::utimensat(AT_FDCWD, at(name).c_str(), times, 0), 0);
    }

    BackupResult run() {
        last_ = ArchiveTest::run();
        return *last_;
    }

    // As a tracked run after a comparison: nothing but what that told is looked at.
    void run_what_a_survey_finds() {
        Marks marks(source_);
        for (const std::string& found : survey()) {
            std::string name = found.substr(found.find('/') + 1);
            if (name.ends_with('/'))
                marks.list(name.substr(0, name.size() - 1));
            else if (!name.empty())
                marks.touch(name);
        }
        request_.look_at = &marks;
        run();
        request_.look_at = nullptr;
    }

    std::optional<BackupResult> last_;
    std::mutex mutex_;  // guards found_
    Names found_;
    SurveyRequest survey_;
    SurveyCounts counts_;
};

}  // namespace

TEST_F(SurveyTest, AnUntouchedSourceGivesNoFindings) {
    make_sample();
    run();
    EXPECT_EQ(survey(), Names{});
    EXPECT_GE(counts_.objects, 9u);
    EXPECT_EQ(counts_.directories, 4u);
}

TEST_F(SurveyTest, ReadsNoContentAndWritesNothing) {
    make_sample();
    run();
    put("a/one", "changed");
    put("new", "n");
    auto files = backend_.files().size();
    int reads = 0;
    fs_.on_read = [&](std::string_view, int) { return ++reads, 0; };
    Names opened;
    fs_.on_open = [&](std::string_view name) {
        std::lock_guard lock(mutex_);
        opened.emplace_back(name);
        return 0;
    };
    survey();
    std::ranges::sort(opened);
    EXPECT_EQ(reads, 0);
    EXPECT_EQ(opened, (Names{"a", "b", "deep", "source"}));
    EXPECT_EQ(backend_.files().size(), files);
}

TEST_F(SurveyTest, TellsWhatIsNewWhatIsGoneAndWhatChanged) {
    make_sample();
    run();
    put("a/one", "longer than before");
    std::filesystem::remove(at("a/two"));
    put("b/deep/fresh", "5");
    ::chmod(at("top").c_str(), 0600);
    EXPECT_EQ(survey(), (Names{"content /a/one", "created /b/deep/fresh", "gone /a/two",
                               "metadata /a/", "metadata /b/deep/", "metadata /top"}));
}

TEST_F(SurveyTest, SeesContentOfTheSameSizeAndTimeByCtimeAlone) {
    put("file", "before");
    struct stat status;
    ASSERT_EQ(::stat(at("file").c_str(), &status), 0);
    run();
    put("file", "behind");
    timespec times[2] = {status.st_atim, status.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, at("file").c_str(), times, 0), 0);
    EXPECT_EQ(survey(), Names{"metadata /file"});
}

TEST_F(SurveyTest, TellsFilesOfWhichStampsProveNothing) {
    make_sample();
    put("b/empty", "");
    run();
    Reread reread{node(*last_, at("a/one"))->ctime, {}, {}};
    survey_.reread = &reread;
    EXPECT_EQ(survey(), (Names{"unproven /a/one", "unproven /a/two", "unproven /b/deep/three",
                               "unproven /top"}));
    reread.since.seconds += 1000;
    EXPECT_EQ(survey(), Names{});
    reread.paths.insert(at("a/two"));
    reread.inodes.insert(node(*last_, at("top"))->inode);
    EXPECT_EQ(survey(), (Names{"unproven /a/two", "unproven /top"}));
    put("a/two", "longer");
    EXPECT_EQ(survey(), (Names{"content /a/two", "unproven /top"})) << "what is known goes first";
}

TEST_F(SurveyTest, AReplacedFileIsContentWhateverItsTimes) {
    put("file", "before");
    run();
    keep_times("", [&] {
        keep_times("file", [&] {
            put("other", "behind");
            ASSERT_EQ(::rename(at("other").c_str(), at("file").c_str()), 0);
        });
    });
    Names found = survey();
    EXPECT_EQ(std::ranges::count(found, "content /file"), 1);
}

TEST_F(SurveyTest, WhatLiesBelowACreatedDirectoryIsNotTold) {
    make_sample();
    run();
    put("c/inside/file", "new");
    EXPECT_EQ(survey(), (Names{"created /c/", "metadata /"}));
}

TEST_F(SurveyTest, AnotherDirectoryUnderTheNameIsCreated) {
    make_sample();
    run();
    ASSERT_EQ(::rename(at("b").c_str(), at("old").c_str()), 0);
    put("b/deep/three", "333");
    EXPECT_EQ(survey(), (Names{"created /b/", "created /old/", "metadata /"}));
}

TEST_F(SurveyTest, AChangedTypeIsCreated) {
    make_sample();
    run();
    std::filesystem::remove_all(at("a"));
    put("a", "now a file");
    std::filesystem::remove(at("top"));
    put("top/inside", "now a directory");
    EXPECT_EQ(survey(), (Names{"created /a", "created /top/", "metadata /"}));
}

TEST_F(SurveyTest, DirectoriesThatAreGoneAreToldOnceAndNotBelow) {
    make_sample();
    run();
    std::filesystem::remove_all(at("b"));
    EXPECT_EQ(survey(), (Names{"gone /b/", "metadata /"}));
}

TEST_F(SurveyTest, FollowsTheRulesOfWhatIsExcluded) {
    make_sample();
    set_.exclude.patterns = {"*.tmp", "cache/"};
    run();
    put("a/x.tmp", "1");
    put("cache/inside", "2");
    EXPECT_EQ(survey(), (Names{"metadata /", "metadata /a/"}));
}

TEST_F(SurveyTest, WhatIsExcludedNowLeavesTheRevision) {
    make_sample();
    run();
    set_.exclude.patterns = {"two"};
    EXPECT_EQ(survey(), Names{"gone /a/two"});
}

TEST_F(SurveyTest, WhatIsNeverEnteredIsStoredEmptyAndStaysSo) {
    make_sample();
    request_.never_enter = survey_.never_enter = {*Path::parse(at("b"))};
    run();
    put("b/deep/three", "changed");
    EXPECT_EQ(survey(), Names{});
    survey_.never_enter.clear();
    Names found = survey();
    EXPECT_EQ(std::ranges::count(found, "created /b/deep/"), 1);
}

TEST_F(SurveyTest, SocketsAreNoFinding) {
    make_sample();
    run();
    keep_times("a", [&] { ASSERT_EQ(::mknod(at("a/socket").c_str(), S_IFSOCK | 0600, 0), 0); });
    EXPECT_EQ(survey(), Names{"metadata /a/"});
}

TEST_F(SurveyTest, UnreadableObjectsAreToldAndTheRestIsCompared) {
    make_sample();
    run();
    put("top", "changed");
    fs_.on_list = [&](std::string_view name) { return name == "a" ? -EIO : 0; };
    fs_.on_open = [&](std::string_view name) { return name == "deep" ? -EACCES : 0; };
    fs_.on_status = [&](std::string_view name) { return name == "link" ? -EIO : 0; };
    EXPECT_EQ(survey(),
              (Names{"content /top", "unreadable /a/", "unreadable /b/deep/", "unreadable /link"}));
}

TEST_F(SurveyTest, AMissingPathOfTheSetIsUnreadableAndNotGone) {
    put("x/file", "1");
    put("y/file", "2");
    set_.paths = {*Path::parse(at("x")), *Path::parse(at("y"))};
    run();
    std::filesystem::remove_all(at("y"));
    EXPECT_EQ(survey(), Names{"unreadable /y"});
}

TEST_F(SurveyTest, NoPathAtAllIsAnError) {
    make_sample();
    run();
    std::filesystem::remove_all(source_);
    auto counts = try_survey();
    ASSERT_FALSE(counts.ok());
    EXPECT_EQ(counts.error().code(), ErrorCode::no_such_path);
    EXPECT_EQ(found_, Names{});
}

TEST_F(SurveyTest, DirectoriesAboveTheSetAreNoFinding) {
    make_sample();
    run();
    // The directory that holds the source.
    ::chmod(folder_.path().c_str(), 0711);
    put("../beside", "1");
    EXPECT_EQ(survey(), Names{});
}

TEST_F(SurveyTest, LostTreesOfTheRevisionMakeTheirDirectoryNew) {
    make_sample();
    BackupResult first = run();
    request_.parent->snapshot.tree = BlobId{};
    auto counts = try_survey();
    ASSERT_FALSE(counts.ok());
    EXPECT_EQ(counts.error().kind(), ErrorKind::not_found);

    // One tree among others: only trees of the top are stored in another repository.
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
                if (child.subtree && child.name != "b") trees.push_back(*child.subtree);
        }
        ASSERT_TRUE((*session)->checkpoint().ok());
    }
    request_.parent->snapshot.tree = first.tree;
    repository_ = std::move(*fresh);
    EXPECT_EQ(survey(), Names{"created /b/"});
    repository_.reset();  // before `other`
}

TEST_F(SurveyTest, UnreachableTreesEndItInsteadOfMakingAllNew) {
    make_sample();
    run();
    FlakyBackend flaky(backend_);
    auto opened = Repository::open(flaky, as_bytes("secret"), {.clock = &clock_});
    ASSERT_TRUE(opened.ok());
    ASSERT_TRUE((*opened)->refresh_index({}).ok());
    repository_ = std::move(*opened);
    flaky.fail_at(2, FlakyBackend::Fault::error, FlakyBackend::Calls::all,
                  Error(ErrorKind::transient, "the network is down"));
    flaky.fail_for(1'000'000);
    auto counts = try_survey();
    repository_.reset();  // before `flaky`
    ASSERT_FALSE(counts.ok());
    EXPECT_EQ(counts.error().kind(), ErrorKind::transient);
    EXPECT_EQ(found_, Names{});
}

TEST_F(SurveyTest, FilesWithSeveralNamesAreToldOncePerName) {
    put("a/one", "1");
    put("b/single", "2");
    ASSERT_EQ(::link(at("a/one").c_str(), at("b/other").c_str()), 0);
    run();
    std::map<std::string, std::uint64_t> told;
    survey_.linked = [&](const std::string& path, std::uint64_t inode) {
        std::lock_guard lock(mutex_);
        EXPECT_TRUE(told.emplace(path, inode).second) << path;
    };
    EXPECT_EQ(survey(), Names{});
    struct stat status;
    ASSERT_EQ(::stat(at("a/one").c_str(), &status), 0);
    EXPECT_EQ(told, (std::map<std::string, std::uint64_t>{{at("a/one"), status.st_ino},
                                                          {at("b/other"), status.st_ino}}));
}

// A file system has another device number after many a mount; names are of one file if inode and
// device number are the same.
TEST_F(SurveyTest, NamesOfOneFileStayThatWhenSomeAreKeptAndOthersWrittenUnderAnotherDeviceNumber) {
    put("a/one", "1");
    put("a/single", "2");
    make_directory("b");
    std::filesystem::create_hard_link(at("a/one"), at("b/also"));
    run();
    fs_.other_device = [](const std::string&) { return 1; };
    EXPECT_EQ(survey(), (Names{"metadata /a/one", "metadata /b/also"}));
    ASSERT_EQ(::rename(at("a").c_str(), at("z").c_str()), 0);
    run_what_a_survey_finds();
    auto one = node(*last_, at("z/one")), also = node(*last_, at("b/also"));
    EXPECT_EQ(one->inode, also->inode);
    EXPECT_EQ(one->links, also->links);
    EXPECT_EQ(one->device_id, also->device_id);
    EXPECT_EQ(survey(), Names{});
}

TEST_F(SurveyTest, AFileSystemWithTheNumberOfAMissingOneGetsAnother) {
    for (const std::string place : {"disk", "here"}) {
        put(place + "/f", "in " + place);
        std::filesystem::create_hard_link(at(place + "/f"), at(place + "/g"));
    }
    unsigned disk = 10, here = 0;
    fs_.other_device = [&](const std::string& path) {
        return path.starts_with(at("disk")) ? disk : path.starts_with(at("here")) ? here : 0;
    };
    run();
    const std::uint64_t number = node(*last_, at("disk/f"))->device_id;

    here = 10;
    request_.absent = survey_.absent = {*Path::parse(at("disk"))};
    EXPECT_EQ(survey(), (Names{"metadata /here/f", "metadata /here/g"}));
    run_what_a_survey_finds();
    EXPECT_EQ(node(*last_, at("disk/f"))->device_id, number);
    EXPECT_NE(node(*last_, at("here/f"))->device_id, number);
    EXPECT_EQ(node(*last_, at("here/f"))->device_id, node(*last_, at("here/g"))->device_id);
    EXPECT_EQ(survey(), Names{}) << "the same number every time";

    disk = 20;
    request_.absent = survey_.absent = {};
    EXPECT_EQ(survey(), (Names{"metadata /disk/f", "metadata /disk/g", "metadata /here/f",
                               "metadata /here/g"}));
    run_what_a_survey_finds();
    EXPECT_EQ(node(*last_, at("here/f"))->device_id, number);
    EXPECT_NE(node(*last_, at("disk/g"))->device_id, number);
}

TEST_F(SurveyTest, PaceIsAskedBeforeADirectoryIsOpenedWithTheNumberOfItsEntries) {
    make_sample();
    run();
    survey_.threads = 1;
    std::vector<std::string> order;
    survey_.pace = [&](std::uint64_t entries) { order.push_back(std::to_string(entries)); };
    fs_.on_open = [&](std::string_view name) {
        order.emplace_back(name);
        return 0;
    };
    survey();
    auto source = std::ranges::find(order, "source");
    ASSERT_NE(source, order.end());
    ASSERT_NE(source, order.begin());
    EXPECT_EQ(*(source - 1), "5");  // a b fifo link top
    auto a = std::ranges::find(order, "a");
    ASSERT_NE(a, order.end());
    EXPECT_EQ(*(a - 1), "source");  // not kept open while it waited
    EXPECT_EQ(*(a - 2), "2");
}

TEST_F(SurveyTest, TellsOfLargeDirectoriesWhatItTellsOfSmallOnes) {
    for (int i = 0; i < 3000; ++i) put("many/file-" + std::to_string(i), "x");
    run();
    put("many/file-1500", "changed");
    put("many/file-2999x", "new");
    std::filesystem::remove(at("many/file-7"));
    EXPECT_EQ(survey(), (Names{"content /many/file-1500", "created /many/file-2999x",
                               "gone /many/file-7", "metadata /many/"}));
    EXPECT_GE(counts_.objects, 3000u);
}

TEST_F(SurveyTest, CanBeStopped) {
    make_sample();
    run();
    std::stop_source stop;
    survey_.pace = [&](std::uint64_t) { stop.request_stop(); };
    auto counts = try_survey(stop.get_token());
    ASSERT_FALSE(counts.ok());
    EXPECT_EQ(counts.error().kind(), ErrorKind::cancelled);
}

TEST_F(SurveyTest, TellsExactlyWhatABackupWouldReactTo) {
    for (int i = 0; i < 40; ++i)
        put("d" + std::to_string(i % 5) + "/f" + std::to_string(i), std::to_string(i));
    run();
    run();
    EXPECT_EQ(survey(), Names{});
    for (int i = 0; i < 40; i += 7)
        put("d" + std::to_string(i % 5) + "/f" + std::to_string(i), "changed");
    std::filesystem::remove(at("d1/f1"));
    EXPECT_NE(survey(), Names{});
    run();
    EXPECT_EQ(survey(), Names{});
}

}  // namespace backup
