#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "daemon/jobs/drill_task.h"
#include "daemon/jobs/health.h"
#include "daemon/jobs/scratch_folder.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr Timestamp kNow{std::chrono::seconds(1'800'000'000)};

JobRecord job(std::uint64_t id) {
    JobRecord record;
    record.id = id;
    record.end = kNow;
    return record;
}

DrillVerdict sample(std::vector<std::string> tried, std::vector<std::string> failed = {}) {
    DrillVerdict verdict;
    verdict.is_reached = verdict.is_random = true;
    verdict.tried = std::move(tried);
    verdict.failed = std::move(failed);
    return verdict;
}

TEST(DrillBook, WhatFailedStaysUntilItComesBackWhateverSamplesSay) {
    SetRecord set;
    note_drill(set, job(1), sample({"/a", "/b"}, {"/b"}));
    EXPECT_EQ(set.drill_result, "failed");
    EXPECT_EQ(set.last_drill, kNow);
    note_drill(set, job(2), sample({"/c"}));
    EXPECT_EQ(set.drill_result, "failed");
    EXPECT_EQ(set.drill_failed, std::vector<std::string>{"/b"});
    note_drill(set, job(3), sample({"/b", "/c"}));
    EXPECT_EQ(set.drill_result, "ok");
    EXPECT_EQ(set.drill_job, 3u);
    EXPECT_TRUE(set.drill_failed.empty());
}

TEST(DrillBook, WithoutAVerdictNothingChanges) {
    SetRecord set;
    note_drill(set, job(1), sample({"/a"}, {"/a"}));
    const SetRecord before = set;
    DrillVerdict none = sample({"/a"});
    none.is_reached = false;
    note_drill(set, job(2), none);
    EXPECT_EQ(set, before);
}

TEST(DrillBook, NamedPathsAreNoSampleButAFailureIsOne) {
    SetRecord set;
    DrillVerdict named = sample({"/a"});
    named.is_random = false;
    note_drill(set, job(1), named);
    EXPECT_EQ(set, SetRecord{});
    named.failed = {"/a"};
    note_drill(set, job(2), named);
    EXPECT_EQ(set.drill_result, "failed");
    EXPECT_EQ(set.last_drill, Timestamp{});
    named.failed.clear();
    note_drill(set, job(3), named);
    EXPECT_EQ(set.drill_result, "ok");
}

TEST(DrillBook, ARevisionThatCannotBeHadFailsWithoutAPath) {
    SetRecord set;
    DrillVerdict lost = sample({});
    lost.is_all_lost = true;
    note_drill(set, job(1), lost);
    EXPECT_EQ(set.drill_result, "failed");
    note_drill(set, job(2), sample({"/a"}));
    EXPECT_EQ(set.drill_result, "ok");
}

TEST(DrillTimes, ADayAfterTheFirstRevisionThenInTheSetsOwnCycle) {
    BackupSet set;
    SetRecord record;
    EXPECT_FALSE(next_drill(set, record, {}, kNow));
    record.drills_since = kNow - 1h;
    EXPECT_EQ(next_drill(set, record, {}, kNow), kNow + 23h);
    record.last_drill = kNow - 1h;
    record.drill_result = "ok";
    EXPECT_EQ(next_drill(set, record, {}, kNow), kNow - 1h + 7 * 24h);
    record.drill_result = "failed";
    EXPECT_EQ(next_drill(set, record, {}, kNow), kNow + 23h);
    set.drill.every_seconds = 3600;
    EXPECT_EQ(next_drill(set, record, {}, kNow), kNow);
    set.drill.every_seconds = 0;
    EXPECT_FALSE(next_drill(set, record, {}, kNow));
}

TEST(DrillTimes, OneThatCameToNoVerdictIsTriedAgainSoonNotAtOnce) {
    BackupSet set;
    SetRecord record;
    record.last_drill = kNow - 8 * 24h;
    EXPECT_LE(*next_drill(set, record, {}, kNow), kNow);
    EXPECT_EQ(next_drill(set, record, kNow, kNow), kNow + 6h);
    // A clock that was set back puts nothing off.
    EXPECT_LE(*next_drill(set, record, kNow + 100h, kNow), kNow);
    record.last_drill = kNow + 1000h;
    EXPECT_LE(*next_drill(set, record, {}, kNow), kNow);
}

TEST(DrillTimes, LateAfterTwoPeriods) {
    BackupSet set;
    SetRecord record;
    EXPECT_FALSE(is_drill_late(set, record, kNow));
    record.drills_since = kNow - 14 * 24h;
    EXPECT_FALSE(is_drill_late(set, record, kNow));
    record.drills_since = kNow - 15 * 24h;
    EXPECT_TRUE(is_drill_late(set, record, kNow));
    record.last_drill = kNow - 24h;
    EXPECT_FALSE(is_drill_late(set, record, kNow));
}

TEST(DrillHealth, AFailedOneIsARiskALateOneIsNotWell) {
    Policy policy;
    policy.sets["home"].id = "home";
    policy.sets["home"].repository = "main";
    policy.repositories["main"].name = "main";
    SetStatuses sets;
    SetRecord& record = sets["home"].record;
    record.last_success = kNow;
    record.drills_since = record.last_drill = kNow - 24h;
    record.drill_result = "ok";
    const auto judge = [&] { return judge_health(policy, sets, {}, true, kNow); };
    EXPECT_EQ(judge().health, Health::ok);
    record.last_drill = kNow - 20 * 24h;
    ASSERT_EQ(judge().findings.size(), 1u);
    EXPECT_EQ(judge().findings[0].code, "drill-late");
    EXPECT_EQ(judge().health, Health::degraded);
    sets["home"].is_excused = true;
    EXPECT_EQ(judge().health, Health::ok);
    record.drill_result = "failed";
    record.drill_job = 12;
    ASSERT_EQ(judge().findings.size(), 1u);
    EXPECT_EQ(judge().findings[0].code, "drill-failed");
    EXPECT_NE(judge().findings[0].remedy.find("backupctl jobs 12"), std::string::npos);
    EXPECT_EQ(judge().health, Health::at_risk);
}

TEST(ScratchFolder, GoesWithWhateverWasMadeInIt) {
    const TempDirectory top;
    const std::string parent = top.path() + "/drill";
    {
        auto scratch = ScratchFolder::make(parent, "7");
        ASSERT_TRUE(scratch.ok());
        const fs::path inside = parent + "/7";
        fs::path deep = inside;
        for (int i = 0; i < 200; ++i) {
            deep /= "d";
            fs::create_directory(deep);
            std::ofstream(deep / "f") << i;
        }
        fs::create_directories(inside / "full" / "inner");
        std::ofstream(inside / ".moved-0") << "in the way";
        fs::create_directory_symlink("/", inside / "link");
        fs::permissions(inside / "full" / "inner", fs::perms::none);
        fs::permissions(inside / "full", fs::perms::none);
    }
    EXPECT_TRUE(fs::is_empty(parent));
    EXPECT_TRUE(fs::exists("/"));
}

TEST(ScratchFolder, ClearingLeavesNothing) {
    const TempDirectory top;
    fs::create_directories(top.path() + "/drill/1/a/b/c");
    fs::create_directories(top.path() + "/drill/2");
    ScratchFolder::clear(top.path() + "/drill");
    EXPECT_TRUE(fs::is_empty(top.path() + "/drill"));
    ScratchFolder::clear(top.path() + "/none");
}

}  // namespace
}  // namespace backup
