#include "daemon/state/state_store.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/state/state_store_env.h"
#include "tests/support/fixtures.h"
#include "tests/support/small_mount.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/state/failing_env.h"

namespace backup {
namespace {

namespace fs = std::filesystem;

JobRecord job_of(const std::string& set) {
    JobRecord record;
    record.kind = "backup";
    record.set = set;
    return record;
}

class StateStoreTest : public testing::Test {
  protected:
    std::unique_ptr<StateStore> open(bool* recovered = nullptr) {
        auto store = StateStore::open(directory(), clock_, recovered);
        EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message());
        return store.ok() ? std::move(store).value() : nullptr;
    }
    std::string directory() const { return temp_.path() + "/state-dir"; }
    fs::path level_folder() const { return directory() + "/state"; }

    std::uint64_t begin(StateStore& store, const std::string& set = "home") {
        auto id = store.begin_job(job_of(set));
        EXPECT_TRUE(id.ok());
        return id.ok() ? id.value() : 0;
    }
    void end(StateStore& store, std::uint64_t id) {
        JobRecord record = job_of("home");
        record.id = id;
        record.end = Timestamp(std::chrono::seconds(1));
        record.outcome = "complete";
        ASSERT_TRUE(store.end_job(record).ok());
    }
    // Overwrites a part of every file of LevelDB whose name begins or ends so: at the first `near`
    // behind the middle, or in the middle.
    void damage(const std::string& which, const std::string& near = "") {
        for (const auto& entry : fs::directory_iterator(level_folder())) {
            std::string name = entry.path().filename();
            if (!name.ends_with(which) && !name.starts_with(which)) continue;
            std::string content = std::string(as_text(read_fixture(entry.path())));
            std::size_t at = content.size() / 2;
            if (!near.empty()) at = std::min(content.find(near, at), content.size());
            std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(at));
            file << "damage!!";
        }
    }
    std::size_t remains() const {
        std::size_t count = 0;
        for (const auto& entry : fs::directory_iterator(directory()))
            count += entry.path().filename().string().starts_with("state.broken-");
        return count;
    }

    TempDirectory temp_{TempDirectory::Where::memory};
    SystemClock clock_;
};

TEST_F(StateStoreTest, AJobBeginsAndEndsAndIsRemembered) {
    std::uint64_t first = 0, second = 0;
    {
        auto store = open();
        first = begin(*store);
        second = begin(*store, "photos");
        EXPECT_EQ(first, 1u);
        EXPECT_EQ(second, 2u);
        end(*store, first);
    }
    auto store = open();
    auto unfinished = store->unfinished_jobs();
    ASSERT_TRUE(unfinished.ok());
    ASSERT_EQ(unfinished->size(), 1u);
    EXPECT_EQ(unfinished->at(0).id, second);
    EXPECT_EQ(unfinished->at(0).set, "photos");
    auto record = store->job(first);
    ASSERT_TRUE(record.ok() && record->has_value());
    EXPECT_EQ(record->value().outcome, "complete");
    EXPECT_FALSE(store->job(99)->has_value());
    EXPECT_EQ(begin(*store), 3u) << "no number is skipped by a clean restart";
}

TEST_F(StateStoreTest, JobsAreListedNewestFirstInPages) {
    auto store = open();
    for (int i = 0; i < 10; ++i) begin(*store);
    ASSERT_TRUE(store->put_set_record("zzz", {}).ok());  // neighbours in the key space
    ASSERT_TRUE(store->remember_lock("a", "b").ok());
    auto page = store->jobs(4);
    ASSERT_EQ(page->size(), 4u);
    EXPECT_EQ(page->front().id, 10u);
    EXPECT_EQ(page->back().id, 7u);
    auto next = store->jobs(100, 7);
    ASSERT_EQ(next->size(), 6u);
    EXPECT_EQ(next->front().id, 6u);
    EXPECT_EQ(next->back().id, 1u);
    EXPECT_TRUE(store->jobs(10, 1)->empty());
    EXPECT_TRUE(store->jobs(0)->empty());
    EXPECT_EQ(store->jobs(10, 500)->size(), 10u);
}

TEST_F(StateStoreTest, LinesAreKeptInOrderPerJobAcrossRestarts) {
    std::uint64_t job = 0;
    {
        auto store = open();
        job = begin(*store);
        std::uint64_t other = begin(*store);
        ASSERT_TRUE(store
                        ->append_lines(job, {{{}, "message", "info", "", "", "1"},
                                             {{}, "message", "info", "", "", "2"}})
                        .ok());
        ASSERT_TRUE(store->append_lines(other, {{{}, "message", "info", "", "", "other"}}).ok());
    }
    auto store = open();
    ASSERT_TRUE(store->append_lines(job, {{{}, "message", "info", "", "", "3"}}).ok());
    std::string seen;
    ASSERT_TRUE(store
                    ->each_line(job,
                                [&](const JobLine& line) {
                                    seen += line.message;
                                    return true;
                                })
                    .ok());
    EXPECT_EQ(seen, "123");
    int count = 0;
    ASSERT_TRUE(store->each_line(job, [&](const JobLine&) { return ++count < 2; }).ok());
    EXPECT_EQ(count, 2);
}

TEST_F(StateStoreTest, TrimmingDropsTheOldestEndedJobsWithTheirLines) {
    auto store = open();
    for (int i = 0; i < 6; ++i) {
        std::uint64_t id = begin(*store);
        ASSERT_TRUE(store->append_lines(id, std::vector<JobLine>(1200)).ok());
        if (id != 2) end(*store, id);
    }
    ASSERT_TRUE(store->trim_jobs(2).ok());
    std::vector<std::uint64_t> left;
    std::vector<JobRecord> jobs = store->jobs(10).value();
    for (const JobRecord& record : jobs) left.push_back(record.id);
    EXPECT_EQ(left, (std::vector<std::uint64_t>{6, 5, 2})) << "a job without end stays";
    int lines = 0;
    ASSERT_TRUE(store->each_line(1, [&](const JobLine&) { return ++lines > 0; }).ok());
    EXPECT_EQ(lines, 0);
    ASSERT_TRUE(store->each_line(6, [&](const JobLine&) { return ++lines > 0; }).ok());
    EXPECT_EQ(lines, 1200);
}

TEST_F(StateStoreTest, SetsRepositoriesAndLocksAreRemembered) {
    {
        auto store = open();
        EXPECT_EQ(store->set_record("home")->last_number, 0u) << "an unknown set has the defaults";
        SetRecord set;
        set.last_number = 7;
        ASSERT_TRUE(store->put_set_record("home", set).ok());
        RepositoryRecord repository;
        repository.sheet_tested = true;
        ASSERT_TRUE(store->put_repository_record("disk", repository).ok());
        ASSERT_TRUE(store->remember_lock("repo", "aa").ok());
        ASSERT_TRUE(store->remember_lock("repo", "bb").ok());
        ASSERT_TRUE(store->remember_lock("repo2", "cc").ok());
        ASSERT_TRUE(store->forget_lock("repo", "aa").ok());
        ASSERT_TRUE(store->forget_lock("repo", "never").ok());
    }
    auto store = open();
    EXPECT_EQ(store->set_record("home")->last_number, 7u);
    EXPECT_TRUE(store->repository_record("disk")->sheet_tested);
    EXPECT_EQ(*store->remembered_locks("repo"), std::vector<std::string>{"bb"});
    EXPECT_EQ(*store->remembered_locks("repo2"), std::vector<std::string>{"cc"});
    EXPECT_TRUE(store->remembered_locks("rep")->empty());
}

TEST_F(StateStoreTest, ASecondDaemonIsToldWhoseDirectoryItIs) {
    auto store = open();
    auto second = StateStore::open(directory(), clock_);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().kind(), ErrorKind::conflict);
    EXPECT_EQ(second.error().code(), ErrorCode::busy);
    EXPECT_NE(second.error().message().find(directory()), std::string::npos);
    EXPECT_EQ(begin(*store), 1u) << "the first one is not disturbed";
    store.reset();
    EXPECT_NE(open(), nullptr);
}

TEST_F(StateStoreTest, AStoreOfANewerVersionIsRefusedAndNotTouched) {
    open().reset();
    std::ofstream(directory() + "/version") << "2\n";
    auto before = fs::last_write_time(level_folder() / "CURRENT");
    auto store = StateStore::open(directory(), clock_);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().kind(), ErrorKind::invalid);
    EXPECT_EQ(store.error().code(), ErrorCode::unsupported);
    EXPECT_EQ(fs::last_write_time(level_folder() / "CURRENT"), before);
    EXPECT_EQ(remains(), 0u);
}

TEST_F(StateStoreTest, FilesAreForTheOwnerOnly) {
    auto store = open();
    begin(*store);
    struct stat info {};
    ASSERT_EQ(::stat(directory().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(StateStoreTest, JobNumbersGrowOverALostStore) {
    std::uint64_t last = 0;
    {
        auto store = open();
        for (int i = 0; i < 70; ++i) last = begin(*store);
    }
    fs::remove_all(level_folder());
    auto store = open();
    std::uint64_t next = begin(*store);
    EXPECT_EQ(next, last + 1);
    EXPECT_EQ(begin(*store), next + 1);
}

TEST_F(StateStoreTest, ADamagedNumberFileIsNoObstacle) {
    {
        auto store = open();
        begin(*store);
    }
    std::ofstream(directory() + "/job-number") << "garbage";
    auto store = open();
    EXPECT_EQ(begin(*store), 2u) << "the store itself still knows";
}

TEST_F(StateStoreTest, ADamagedStoreIsMovedAsideAndWhatIsReadableCarriedOver) {
    for (const char* part : {".log", "MANIFEST", "CURRENT"}) {
        fs::remove_all(directory());
        std::uint64_t last = 0;
        {
            auto store = open();
            for (int i = 0; i < 40; ++i) last = begin(*store);
        }
        open().reset();  // so that part of it lies in tables
        {
            auto store = open();
            for (int i = 0; i < 40; ++i) last = begin(*store);
        }
        damage(part, part == std::string(".log") ? "backup" : "");
        bool recovered = false;
        auto store = open(&recovered);
        ASSERT_NE(store, nullptr) << part;
        EXPECT_TRUE(recovered) << part;
        EXPECT_EQ(remains(), 1u) << part;
        EXPECT_GT(begin(*store), last) << part;
        auto jobs = store->jobs(1000);
        ASSERT_TRUE(jobs.ok());
        EXPECT_GE(jobs->size(), 41u) << part << ": the first half was not touched";
    }
}

TEST_F(StateStoreTest, JobNumbersGrowOverALogThatLostItsEndInSilence) {
    std::uint64_t last = 0;
    {
        auto store = open();
        for (int i = 0; i < 40; ++i) last = begin(*store);
    }
    for (const auto& entry : fs::directory_iterator(level_folder()))
        if (entry.path().extension() == ".log")
            fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
    auto store = open();
    EXPECT_FALSE(store->job(last)->has_value());
    EXPECT_EQ(begin(*store), last + 1);
}

TEST_F(StateStoreTest, DamageFoundWhileReadingIsRecoveredFrom) {
    {
        auto store = open();
        for (int i = 0; i < 200; ++i)
            ASSERT_TRUE(store->append_lines(begin(*store), std::vector<JobLine>(20)).ok());
    }
    open().reset();  // the log becomes a table
    damage(".ldb");
    auto store = open();
    ASSERT_NE(store, nullptr);
    auto jobs = store->jobs(1000);
    ASSERT_TRUE(jobs.ok()) << jobs.error().message();
    int lines = 0;
    for (std::uint64_t id = 1; id <= 200; ++id)
        ASSERT_TRUE(store->each_line(id, [&](const JobLine&) { return ++lines > 0; }).ok());
    EXPECT_EQ(remains(), 1u);
    EXPECT_GT(begin(*store), 200u);
}

TEST_F(StateStoreTest, AQueueIsKeptBesideOthersAndInTheOrderOfItsRecords) {
    const std::string bytes("\x00\xff/", 3);
    {
        auto store = open();
        ASSERT_TRUE(store->write_queue("home", {{"a", "1"}, {bytes, bytes}, {"b", "2"}}).ok());
        ASSERT_TRUE(store->write_queue("home2", {{"a", "another set"}}).ok());
        ASSERT_TRUE(store->write_queue("hom", {{"e", "its keys must not look like home's"}}).ok());
        // In one batch a later record of a key counts.
        ASSERT_TRUE(store->write_queue("home", {{"b", std::nullopt}, {"a", "3"}, {"b", "4"}}).ok());
        ASSERT_TRUE(store->write_queue("home", {}).ok());
    }
    auto store = open();
    auto records = store->load_queue("home");
    ASSERT_TRUE(records.ok());
    EXPECT_EQ(*records, (std::vector<QueueRecord>{{bytes, bytes}, {"a", "3"}, {"b", "4"}}));
    ASSERT_TRUE(store->drop_queue("home").ok());
    EXPECT_TRUE(store->load_queue("home")->empty());
    EXPECT_EQ(store->load_queue("home2")->size(), 1u);
    EXPECT_EQ(store->load_queue("hom")->size(), 1u);
    EXPECT_TRUE(store->load_queue("unheard of")->empty());
    EXPECT_TRUE(store->drop_queue("unheard of").ok());
}

TEST_F(StateStoreTest, AQueueInADamagedStoreIsForgottenRatherThanHalfRemembered) {
    {
        auto store = open();
        std::vector<QueueRecord> records;
        for (int i = 0; i < 20000; ++i) records.push_back({std::to_string(i), "a mark"});
        ASSERT_TRUE(store->write_queue("home", records).ok());
        begin(*store);
    }
    open().reset();  // the log becomes a table
    damage(".ldb");
    auto store = open();
    ASSERT_NE(store, nullptr);
    auto loaded = store->load_queue("home");
    ASSERT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().kind(), ErrorKind::corrupt);
    EXPECT_EQ(remains(), 1u);
    auto again = store->load_queue("home");
    ASSERT_TRUE(again.ok());
    EXPECT_TRUE(again->empty());
}

TEST_F(StateStoreTest, OnlyThreeRemainsAreKept) {
    for (int i = 0; i < 5; ++i) {
        {
            auto store = open();
            for (int k = 0; k < 10; ++k) begin(*store);
        }
        damage("MANIFEST");
        damage("CURRENT");
        ASSERT_NE(open(), nullptr);
    }
    EXPECT_EQ(remains(), 3u);
}

class FailingStateStoreTest : public StateStoreTest {
  protected:
    FailingStateStoreTest() : env_(make_failing_env(faults_)) {}
    ~FailingStateStoreTest() override { free_env(env_); }
    std::unique_ptr<StateStore> open_failing() {
        auto store = state::open_state_store(directory(), clock_, nullptr, env_);
        return store.ok() ? std::move(store).value() : nullptr;
    }
    WriteFaults faults_;
    leveldb::Env* env_;
};

TEST_F(FailingStateStoreTest, NothingReportedAsWrittenIsLostWhicheverWriteFails) {
    std::uint64_t injected = 0;
    for (std::uint64_t at = 0; at < 60; ++at) {
        fs::remove_all(directory());
        std::vector<std::uint64_t> reported;
        faults_ = {};
        {
            auto store = open_failing();
            ASSERT_NE(store, nullptr);
            faults_.calls = 0;
            faults_.fail_at = at;
            for (int i = 0; i < 12; ++i)
                if (auto id = store->begin_job(job_of("home")); id.ok())
                    reported.push_back(id.value());
            injected += faults_.failures;
            faults_.fail_at = UINT64_MAX;
            for (int i = 0; i < 3; ++i)
                if (auto id = store->begin_job(job_of("home")); id.ok())
                    reported.push_back(id.value());
        }
        EXPECT_EQ(reported.size(), 15u)
            << "a single failure is repaired without the caller seeing it, at " << at;
        bool recovered = false;
        auto store = open(&recovered);
        ASSERT_NE(store, nullptr);
        EXPECT_FALSE(recovered) << at;
        for (std::uint64_t id : reported)
            EXPECT_TRUE(store->job(id)->has_value()) << id << " at " << at;
    }
    EXPECT_GT(injected, 20u) << "the faults must hit";
}

TEST_F(FailingStateStoreTest, AFullDiskIsAnErrorAndAfterwardsAllIsWell) {
    auto store = open_failing();
    ASSERT_NE(store, nullptr);
    std::uint64_t first = begin(*store);
    faults_.disk_full = true;
    for (int i = 0; i < 3; ++i) {
        auto failed = store->begin_job(job_of("home"));
        ASSERT_FALSE(failed.ok());
        EXPECT_EQ(failed.error().kind(), ErrorKind::no_space) << failed.error().message();
    }
    EXPECT_EQ(remains(), 0u) << "a full disk is no damage";
    faults_.disk_full = false;
    EXPECT_EQ(begin(*store), first + 1);
    EXPECT_TRUE(store->job(first)->has_value());
    store.reset();
    EXPECT_EQ(open()->jobs(10)->size(), 2u);
}

TEST_F(StateStoreTest, ARealFullDiskIsSurvived) {
    SmallMount disk("size=1m");
    if (!disk.is_mounted()) GTEST_SKIP() << "SKIPPED: mounting a tmpfs needs root";
    std::string directory = disk.path() + "/s";
    std::uint64_t last = 0;
    {
        auto store = StateStore::open(directory, clock_);
        ASSERT_TRUE(store.ok());
        last = begin(**store);
        std::string filler = disk.path() + "/filler";
        {
            std::ofstream file(filler, std::ios::binary);
            std::string block(4096, 'x');
            while (file.write(block.data(), 4096).flush()) {
            }
        }
        bool failed = false;
        for (int i = 0; i < 200 && !failed; ++i) {
            auto id = (*store)->begin_job(job_of(std::string(500, 'x')));
            failed = !id.ok();
            if (id.ok()) last = id.value();
            if (failed) {
                EXPECT_EQ(id.error().kind(), ErrorKind::no_space) << id.error().message();
            }
        }
        EXPECT_TRUE(failed);
        fs::remove(filler);
        std::uint64_t next = begin(**store);
        EXPECT_GT(next, last);
        last = next;
    }
    bool recovered = false;
    auto store = StateStore::open(directory, clock_, &recovered);
    ASSERT_TRUE(store.ok());
    EXPECT_FALSE(recovered);
    EXPECT_EQ((*store)->jobs(1)->at(0).id, last);
}

TEST_F(StateStoreTest, WhatWasReportedSurvivesAKill) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        auto store = StateStore::open(directory(), clock_);
        for (std::uint64_t i = 0; i < 1000 && store.ok(); ++i) {
            auto id = (*store)->begin_job(job_of("home"));
            if (!id.ok() || write(pipe_ends[1], &id.value(), sizeof id.value()) < 0) break;
        }
        _exit(0);
    }
    close(pipe_ends[1]);
    std::uint64_t reported = 0, id = 0;
    while (reported < 25 && read(pipe_ends[0], &id, sizeof id) == sizeof id) reported = id;
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    while (read(pipe_ends[0], &id, sizeof id) == sizeof id) reported = id;
    close(pipe_ends[0]);
    bool recovered = false;
    auto store = open(&recovered);
    ASSERT_NE(store, nullptr);
    EXPECT_FALSE(recovered);
    for (std::uint64_t job = 1; job <= reported; ++job)
        EXPECT_TRUE(store->job(job)->has_value()) << job;
    EXPECT_GT(begin(*store), reported);
}

TEST_F(StateStoreTest, ManyThreadsShareOneStore) {
    auto store = open();
    std::atomic<int> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (int worker = 0; worker < 4; ++worker)
            threads.emplace_back([&] {
                for (int i = 0; i < 25; ++i) {
                    auto id = store->begin_job(job_of("home"));
                    if (!id.ok() || !store->append_lines(id.value(), {JobLine{}}).ok() ||
                        !store->job(id.value())->has_value())
                        ++wrong;
                }
            });
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(store->jobs(1000)->size(), 100u);
}

}  // namespace
}  // namespace backup
