#include "daemon/jobs/metrics.h"

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
