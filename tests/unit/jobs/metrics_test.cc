#include "daemon/jobs/metrics.h"

#include <map>

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;

constexpr Timestamp kNow{std::chrono::seconds(1'800'000'000)};

JobRecord ended(const std::string& kind, const std::string& outcome) {
    JobRecord record;
    record.kind = kind;
    record.set = kind == "gc" || kind == "check" ? "" : "home";
    record.repository = "main";
    record.outcome = outcome;
    record.begin = kNow;
    record.end = kNow + 2s;
    return record;
}

// The lines that begin like this.
std::string lines(const std::string& text, const std::string& prefix) {
    std::string found;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        const std::string line = text.substr(at, end - at);
        if (line.starts_with(prefix)) found += line + "\n";
        at = end + 1;
    }
    return found;
}

TEST(Metrics, AStormOfErrorsOfBackupsLeavesTheSeriesOfRestoresAlone) {
    Metrics metrics;
    metrics.job_ended(ended("restore", "complete"), 100ms);
    const std::string before = lines(metrics.text({}), "backupd_restore_");
    EXPECT_NE(before.find("backupd_restore_success_ratio 1\n"), std::string::npos);
    EXPECT_NE(before.find("backupd_restore_first_byte_seconds_count 1\n"), std::string::npos);
    for (int i = 0; i < 100; ++i) metrics.job_ended(ended("backup", "failed"), {});
    for (const char* kind : {"gc", "check", "verify"}) metrics.job_ended(ended(kind, "failed"), {});
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_"), before);
    EXPECT_EQ(lines(metrics.text({}), "backupd_backup_jobs_total"),
              "backupd_backup_jobs_total{set=\"home\",outcome=\"failed\"} 100\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_gc_jobs_total"),
              "backupd_gc_jobs_total{repository=\"main\",outcome=\"failed\"} 1\n");
}

TEST(Metrics, ARestoreThatIsNotCompleteLowersTheRatio) {
    Metrics metrics;
    metrics.job_ended(ended("restore", "complete"), {});
    metrics.job_ended(ended("restore", "exceptions"), {});
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_success_ratio"),
              "backupd_restore_success_ratio 0.5\n");
}

TEST(Metrics, APlanIsNoRestore) {
    Metrics metrics;
    JobRecord plan = ended("restore", "failed");
    plan.mode = "dry-run";
    metrics.job_ended(plan, {});
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_jobs_total"), "");
}

TEST(Metrics, HowLongRestoresTookAndHowSoonTheyBeganToGiveBack) {
    Metrics metrics;
    JobRecord restore = ended("restore", "complete");
    restore.counts = {{"bytes", 3000}};
    metrics.job_ended(restore, 100ms);
    restore.end = restore.begin + 10h;
    restore.counts.clear();
    metrics.job_ended(restore, 40ms);
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_duration_seconds_bucket"),
              "backupd_restore_duration_seconds_bucket{le=\"0.05\"} 0\n"
              "backupd_restore_duration_seconds_bucket{le=\"0.2\"} 0\n"
              "backupd_restore_duration_seconds_bucket{le=\"1\"} 0\n"
              "backupd_restore_duration_seconds_bucket{le=\"5\"} 1\n"
              "backupd_restore_duration_seconds_bucket{le=\"30\"} 1\n"
              "backupd_restore_duration_seconds_bucket{le=\"300\"} 1\n"
              "backupd_restore_duration_seconds_bucket{le=\"3600\"} 1\n"
              "backupd_restore_duration_seconds_bucket{le=\"+Inf\"} 2\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_duration_seconds_count"),
              "backupd_restore_duration_seconds_count 2\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_first_byte_seconds_bucket{le=\"0.05\"}"),
              "backupd_restore_first_byte_seconds_bucket{le=\"0.05\"} 1\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_bytes_per_second_last"),
              "backupd_restore_bytes_per_second_last 1500\n");
}

TEST(Metrics, DrillsAreApartFromRestores) {
    Metrics metrics;
    metrics.job_ended(ended("restore", "complete"), 100ms);
    const std::string before = lines(metrics.text({}), "backupd_restore_");
    JobRecord drill = ended("drill", "failed");
    drill.counts = {{"files", 63}, {"failed", 1}};
    metrics.job_ended(drill, 10ms);
    EXPECT_EQ(lines(metrics.text({}), "backupd_restore_"), before);
    EXPECT_EQ(lines(metrics.text({}), "backupd_drill_jobs_total"),
              "backupd_drill_jobs_total{set=\"home\",outcome=\"failed\"} 1\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_drill_failed_objects_total"),
              "backupd_drill_failed_objects_total{set=\"home\"} 1\n");
    Numbers numbers;
    numbers.now = kNow;
    SetNumbers set{.id = "home"};
    set.record.last_drill = kNow - 2h;
    set.record.drill_result = "failed";
    numbers.sets.push_back(set);
    EXPECT_EQ(lines(metrics.text(numbers), "backupd_drill_age_seconds"),
              "backupd_drill_age_seconds{set=\"home\"} 7200\n");
    EXPECT_EQ(lines(metrics.text(numbers), "backupd_drill_last_good"),
              "backupd_drill_last_good{set=\"home\"} 0\n");
}

TEST(Metrics, TheSumsOfAllSetsForOtherPrograms) {
    Metrics metrics;
    JobRecord restore = ended("restore", "complete");
    restore.counts = {{"bytes", 3000}, {"failed", 2}};
    metrics.job_ended(restore, 100ms);
    restore.set = "other";
    restore.outcome = "failed";
    metrics.job_ended(restore, {});
    const auto sums = metrics.restores();
    const std::map<std::string, std::uint64_t> all(sums.begin(), sums.end());
    EXPECT_EQ(all.at("jobs"), 2u);
    EXPECT_EQ(all.at("complete"), 1u);
    EXPECT_EQ(all.at("failed"), 1u);
    EXPECT_EQ(all.at("interrupted"), 0u);
    EXPECT_EQ(all.at("bytes"), 6000u);
    EXPECT_EQ(all.at("failed-objects"), 4u);
    EXPECT_EQ(all.at("duration-usec"), 4'000'000u);
    EXPECT_EQ(all.at("first-byte-count"), 1u);
    EXPECT_EQ(all.at("first-byte-usec"), 100'000u);
    EXPECT_EQ(all.at("last-bytes-per-second"), 1500u);
    const auto backups = metrics.backups();
    const std::map<std::string, std::uint64_t> none(backups.begin(), backups.end());
    EXPECT_EQ(none.at("jobs"), 0u);
}

TEST(Metrics, OrphanBytesAreThoseOfTheLastLook) {
    Metrics metrics;
    JobRecord audit = ended("gc", "complete");
    audit.mode = "audit";
    audit.counts = {{"orphan-bytes", 7}};
    metrics.job_ended(audit, {});
    EXPECT_EQ(lines(metrics.text({}), "backupd_gc_orphan_bytes"),
              "backupd_gc_orphan_bytes{repository=\"main\"} 7\n");
    EXPECT_EQ(lines(metrics.text({}), "backupd_gc_jobs_total"), "");
}

TEST(Metrics, WhatASetWaitsForIsASeriesForEachCondition) {
    Metrics metrics;
    Numbers numbers;
    SetNumbers set{.id = "home"};
    set.waits = {{Condition::window, "closed"}, {Condition::battery, "on battery"}};
    numbers.sets.push_back(set);
    EXPECT_EQ(lines(metrics.text(numbers), "backupd_backup_waiting"),
              "backupd_backup_waiting{set=\"home\",condition=\"window\"} 1\n"
              "backupd_backup_waiting{set=\"home\",condition=\"battery\"} 1\n");
}

}  // namespace
}  // namespace backup
