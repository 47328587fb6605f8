#include "daemon/state/state_codec.h"

#include <gtest/gtest.h>

namespace backup::state {
namespace {

JobRecord full_job() {
    JobRecord record;
    record.id = UINT64_MAX;
    record.kind = "backup";
    record.set = "home";
    record.repository = "disk";
    record.trigger = "user";
    record.mode = "full";
    record.uid = 4294967294;
    record.parent = std::string(64, 'a');
    record.begin = Timestamp(Duration(1700000000123456789));
    record.end = Timestamp(Duration(-5));
    record.outcome = "exceptions";
    record.error_name = "NoSpace";
    record.message = std::string("with \0 zero", 11);
    record.revision = std::string(64, 'b');
    record.exceptions = 300;
    record.counts = {{"files_new", 1}, {"", 0}, {"bytes", UINT64_MAX}};
    return record;
}

TEST(StateCodec, AJobComesBackWithEveryField) {
    JobRecord record = full_job();
    auto back = decode_job(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->id, record.id);
    EXPECT_EQ(back->kind, record.kind);
    EXPECT_EQ(back->set, record.set);
    EXPECT_EQ(back->repository, record.repository);
    EXPECT_EQ(back->trigger, record.trigger);
    EXPECT_EQ(back->mode, record.mode);
    EXPECT_EQ(back->uid, record.uid);
    EXPECT_EQ(back->parent, record.parent);
    EXPECT_EQ(back->begin, record.begin);
    EXPECT_EQ(back->end, record.end);
    EXPECT_EQ(back->outcome, record.outcome);
    EXPECT_EQ(back->error_name, record.error_name);
    EXPECT_EQ(back->message, record.message);
    EXPECT_EQ(back->revision, record.revision);
    EXPECT_EQ(back->exceptions, record.exceptions);
    EXPECT_EQ(back->counts, record.counts);
}

TEST(StateCodec, NoEndIsNotTheEpoch) {
    JobRecord record;
    EXPECT_FALSE(decode_job(encode(record))->end);
    record.end = Timestamp{};
    EXPECT_TRUE(decode_job(encode(record))->end);
}

TEST(StateCodec, LinesSetsAndRepositoriesComeBack) {
    JobLine line{Timestamp(Duration(7)), "exception", "warning", "/a\xff", "denied", "no"};
    auto line_back = decode_line(encode(line));
    ASSERT_TRUE(line_back.ok());
    EXPECT_EQ(line_back->time, line.time);
    EXPECT_EQ(line_back->object, line.object);
    EXPECT_EQ(line_back->kind, line.kind);
    EXPECT_EQ(line_back->message, line.message);
    SetRecord set{Timestamp(Duration(1)),
                  Timestamp(Duration(2)),
                  Timestamp(Duration(3)),
                  "complete",
                  "abc",
                  9};
    auto set_back = decode_set(encode(set));
    ASSERT_TRUE(set_back.ok());
    EXPECT_EQ(set_back->protected_until, set.protected_until);
    EXPECT_EQ(set_back->last_number, 9u);
    EXPECT_EQ(set_back->latest_revision, "abc");
    RepositoryRecord repository{"id", true, false, Timestamp(Duration(4)), "clean", "hint"};
    auto repository_back = decode_repository(encode(repository));
    ASSERT_TRUE(repository_back.ok());
    EXPECT_TRUE(repository_back->password_generated);
    EXPECT_FALSE(repository_back->sheet_tested);
    EXPECT_EQ(repository_back->key_hint, "hint");
}

TEST(StateCodec, WhatAGuardAsksComesBackWhole) {
    GuardRecord record;
    record.source = {.kind = "emptied",
                     .answer = "rejected",
                     .since = Timestamp(Duration(5)),
                     .answered = Timestamp(Duration(6)),
                     .message = "9 of 10 files are gone",
                     .job = 7,
                     .lost = 9,
                     .clean = "aabb",
                     .clean_number = 3,
                     .pins = true,
                     .holds = true};
    record.change.kind = "mass-change";
    record.window_begin = Timestamp(Duration(8));
    record.window_opaque = 4;
    record.window_could = 5;
    record.window_clean = "cc";
    record.window_number = 6;
    auto back = decode_guard(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
    EXPECT_EQ(*decode_guard(encode(GuardRecord{})), GuardRecord{});
    EXPECT_EQ(*decode_guard(""), GuardRecord{});
}

TEST(StateCodec, FieldsOfTheFutureAreSkipped) {
    std::string value = encode(full_job());
    value += std::string("\x7f\x03xyz", 5);
    auto back = decode_job(value);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->exceptions, 300u);
}

TEST(StateCodec, EveryTruncationIsCorruptOrTheShorterRecord) {
    std::string value = encode(full_job());
    for (std::size_t cut = 0; cut < value.size(); ++cut) {
        auto back = decode_job(std::string_view(value).substr(0, cut));
        if (back.ok()) continue;  // cut between two fields
        EXPECT_EQ(back.error().kind(), ErrorKind::corrupt);
    }
    EXPECT_FALSE(decode_job("\x01").ok());
    EXPECT_FALSE(decode_job("\x01\x05"
                            "a")
                     .ok())
        << "longer than the value";
    EXPECT_FALSE(decode_job(std::string_view("\x01\x00", 2)).ok()) << "a number without bytes";
    EXPECT_FALSE(decode_job("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").ok())
        << "length above 64 bits";
}

TEST(StateCodec, KeysSortByNumber) {
    EXPECT_LT(job_key(255), job_key(256));
    EXPECT_LT(line_key(1, 255), line_key(1, 256));
    EXPECT_LT(line_key(1, UINT64_MAX), line_key(2, 0));
    EXPECT_EQ(id_of_key(job_key(77)), 77u);
    EXPECT_FALSE(id_of_key("j"));
}

TEST(StateCodec, LocksOfOneRepositoryAreNotThoseOfALongerName) {
    EXPECT_FALSE(lock_key("ab", "x").starts_with(lock_prefix("a")));
    EXPECT_TRUE(lock_key("ab", "x").starts_with(lock_prefix("ab")));
}

TEST(StateCodec, ACheckpointComesBackWithEveryField) {
    CheckpointRecord record{.repository_id = "repo",
                            .tree = std::string(64, 'c'),
                            .job = 7,
                            .begin = Timestamp(Duration(5)),
                            .kept = Timestamp(Duration(6)),
                            .trigger = "schedule",
                            .files = 8,
                            .bytes = UINT64_MAX,
                            .unsettled = {"/a", "/b\n"},
                            .half = {}};
    record.half.push_back({.path = "/big",
                           .inode = 1,
                           .size = 2,
                           .mtime_seconds = -3,
                           .ctime_seconds = 4,
                           .mtime_nanoseconds = 999'999'999,
                           .ctime_nanoseconds = 6,
                           .bytes = 7,
                           .chunks = std::string(64, '\0')});
    auto back = decode_checkpoint(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(back->repository_id, "repo");
    EXPECT_EQ(back->tree, record.tree);
    EXPECT_EQ(back->job, 7u);
    EXPECT_EQ(back->begin, record.begin);
    EXPECT_EQ(back->kept, record.kept);
    EXPECT_EQ(back->trigger, "schedule");
    EXPECT_EQ(back->files, 8u);
    EXPECT_EQ(back->bytes, UINT64_MAX);
    EXPECT_EQ(back->unsettled, record.unsettled);
    ASSERT_EQ(back->half.size(), 1u);
    const HalfFileRecord& half = back->half.front();
    EXPECT_EQ(half.path, "/big");
    EXPECT_EQ(half.inode, 1u);
    EXPECT_EQ(half.size, 2u);
    EXPECT_EQ(half.mtime_seconds, -3);
    EXPECT_EQ(half.mtime_nanoseconds, 999'999'999u);
    EXPECT_EQ(half.ctime_seconds, 4);
    EXPECT_EQ(half.ctime_nanoseconds, 6u);
    EXPECT_EQ(half.bytes, 7u);
    EXPECT_EQ(half.chunks, record.half.front().chunks);
    const std::string bytes = encode(record);
    for (std::size_t cut = 0; cut < bytes.size(); ++cut)
        (void)decode_checkpoint(bytes.substr(0, cut));  // refused or shorter, never a crash
}

}  // namespace
}  // namespace backup::state
