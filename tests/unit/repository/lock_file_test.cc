#include "daemon/repository/lock_file.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(LockFile, ReadsWhatResticWrites) {
    auto lock = decode_lock(as_bytes(
        R"({"time":"2026-11-22T19:39:23.769237019+01:00","exclusive":true,"hostname":"h","username":"u","pid":123,"uid":1000,"gid":100})"));
    ASSERT_TRUE(lock.ok());
    EXPECT_TRUE(lock->exclusive);
    EXPECT_EQ(lock->hostname, "h");
    EXPECT_EQ(lock->pid, 123);
    EXPECT_EQ(lock->uid, 1000u);
    EXPECT_EQ(lock->gid, 100u);
    EXPECT_EQ(format_rfc3339_utc(lock->time), "2026-11-22T18:39:23.769237019Z");
}

TEST(LockFile, ComesBackAndLeavesOutRoot) {
    LockFile lock;
    lock.time = Timestamp(std::chrono::seconds(1700000000));
    lock.hostname = "h\"\n";
    lock.username = "root";
    lock.pid = 42;
    std::string text = encode_lock(lock);
    EXPECT_EQ(text.substr(text.find(",\"exclusive\"")),
              R"(,"exclusive":false,"hostname":"h\"\n","username":"root","pid":42})");
    auto back = decode_lock(as_bytes(text));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->time, lock.time);
    EXPECT_EQ(back->hostname, lock.hostname);
    lock.uid = 5;
    lock.gid = 6;
    EXPECT_TRUE(encode_lock(lock).ends_with(R"("pid":42,"uid":5,"gid":6})"));
}

TEST(LockFile, BadLocksAreCorrupt) {
    for (const char* text :
         {"", "{}", "[]", R"({"time":"now"})", R"({"time":"2024-01-01T00:00:00Z","pid":"1"})",
          R"({"time":"2024-01-01T00:00:00Z","exclusive":1})", R"({"time":"2024-01-01T00:00:00Z"}x)",
          R"({"time":"2024-01-01T00:00:00Z")"}) {
        auto lock = decode_lock(as_bytes(text));
        ASSERT_FALSE(lock.ok()) << text;
        EXPECT_EQ(lock.error().kind(), ErrorKind::corrupt);
    }
}

TEST(LockFile, SaysWhoseItIsAndSinceWhen) {
    LockFile lock;
    lock.time = Timestamp(std::chrono::seconds(1'800'000'100));
    lock.program = "backupd";
    lock.purpose = "collect";
    lock.begin = Timestamp(std::chrono::seconds(1'800'000'000));
    auto back = decode_lock(as_bytes(encode_lock(lock)));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->program, "backupd");
    EXPECT_EQ(back->purpose, "collect");
    EXPECT_EQ(back->begin, lock.begin);
}

TEST(LockFile, OfAnotherToolSaysNothingOfThat) {
    LockFile lock;
    lock.time = Timestamp(std::chrono::seconds(1'800'000'100));
    const std::string text = encode_lock(lock);
    EXPECT_EQ(text.find("program"), std::string::npos);
    auto back = decode_lock(as_bytes(text));
    ASSERT_TRUE(back.ok());
    EXPECT_FALSE(back->begin.has_value());
}

}  // namespace
}  // namespace backup
