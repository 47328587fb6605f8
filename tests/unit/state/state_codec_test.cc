#include "daemon/state/state_codec.h"

#include <cstdio>
#include <tuple>

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

// A field that a record of a test leaves as it is by default proves nothing. Who adds a field must
// name it in the list of its test, or that does not compile.
template <typename... Fields>
void expect_none_is_default(const std::tuple<Fields...>& fields) {
    int number = 0;
    const auto check = [&number](const auto& field) {
        EXPECT_FALSE(field == std::remove_cvref_t<decltype(field)>{}) << "field " << number;
        ++number;
    };
    std::apply([&](const auto&... field) { (check(field), ...); }, fields);
}

TEST(StateCodec, AJobComesBackWithEveryField) {
    const JobRecord record = full_job();
    const auto& [id, kind, set, repository, trigger, mode, uid, parent, begin, end, outcome,
                 error_name, message, revision, exceptions, counts] = record;
    expect_none_is_default(std::tie(id, kind, set, repository, trigger, mode, uid, parent, begin,
                                    end, outcome, error_name, message, revision, exceptions,
                                    counts));
    auto back = decode_job(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
    EXPECT_EQ(*decode_job(encode(JobRecord{})), JobRecord{});
}

TEST(StateCodec, NoEndIsNotTheEpoch) {
    JobRecord record;
    EXPECT_FALSE(decode_job(encode(record))->end);
    record.end = Timestamp{};
    EXPECT_TRUE(decode_job(encode(record))->end);
}

TEST(StateCodec, ALineComesBackWithEveryField) {
    const JobLine line{Timestamp(Duration(7)), "exception", "warning", "/a\xff", "denied", "no"};
    const auto& [time, type, level, object, kind, message] = line;
    expect_none_is_default(std::tie(time, type, level, object, kind, message));
    auto back = decode_line(encode(line));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, line);
    EXPECT_EQ(*decode_line(""), JobLine{});
}

TEST(StateCodec, ASetComesBackWithEveryField) {
    const SetRecord record{.last_attempt = Timestamp(Duration(1)),
                           .last_success = Timestamp(Duration(-2)),
                           .protected_until = Timestamp(Duration(3)),
                           .last_result = "complete",
                           .latest_revision = "abc",
                           .last_number = 9,
                           .last_full = Timestamp(Duration(4)),
                           .unexplained = 5,
                           .items = 6,
                           .bytes = 7,
                           .limits_hit = "items",
                           .left_out_items = 8,
                           .left_out_bytes = 9,
                           .soft_hit = "file-size",
                           .unprotected = 12,
                           .unprotected_job = 13,
                           .churn_since = Timestamp(Duration(10)),
                           .churn_bytes = 11,
                           .drills_since = Timestamp(Duration(6)),
                           .last_drill = Timestamp(Duration(7)),
                           .drill_result = "ok",
                           .drill_job = 8,
                           .drill_failed = {"/a", "/b\xff"}};
    const auto& [attempt, success, until, result, revision, number, full, unexplained, items, bytes,
                 hit, left_items, left_bytes, soft, unprotected, lister, churn_since, churn, since,
                 drill, verdict, job, failed] = record;
    expect_none_is_default(std::tie(attempt, success, until, result, revision, number, full,
                                    unexplained, items, bytes, hit, left_items, left_bytes, soft,
                                    unprotected, lister, churn_since, churn, since, drill, verdict,
                                    job, failed));
    auto back = decode_set(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
    EXPECT_EQ(*decode_set(""), SetRecord{});
}

TEST(StateCodec, ARepositoryComesBackWithEveryField) {
    const RepositoryRecord record{.repository_id = "id",
                                  .password_generated = true,
                                  .sheet_tested = true,
                                  .last_check = Timestamp(Duration(4)),
                                  .last_check_result = "errors",
                                  .key_hint = "hint",
                                  .last_collect = Timestamp(Duration(5)),
                                  .last_collect_attempt = Timestamp(Duration(6)),
                                  .last_collect_result = "failed",
                                  .emptied = true};
    const auto& [id, generated, tested, check, check_result, hint, collect, attempt, result,
                 emptied] = record;
    expect_none_is_default(std::tie(id, generated, tested, check, check_result, hint, collect,
                                    attempt, result, emptied));
    auto back = decode_repository(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
    EXPECT_EQ(*decode_repository(""), RepositoryRecord{});
}

TEST(StateCodec, APackComesBackWithEveryFieldButItsKey) {
    const PackRecord record{
        .pack = {}, .owner = "home", .size = 5, .since = Timestamp(Duration(6))};
    const auto& [pack, owner, size, since] = record;
    EXPECT_TRUE(pack.empty());
    expect_none_is_default(std::tie(owner, size, since));
    auto back = decode_pack(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
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
    const auto& [kind, answer, since, answered, message, job, lost, clean, clean_number, pins,
                 holds] = record.source;
    expect_none_is_default(std::tie(kind, answer, since, answered, message, job, lost, clean,
                                    clean_number, pins, holds));
    record.change.kind = "mass-change";
    record.line.kind = "foreign-writer";
    record.line_known = 12;
    record.window_begin = Timestamp(Duration(8));
    record.window_opaque = 4;
    record.window_could = 5;
    record.window_clean = "cc";
    record.window_number = 6;
    const auto& [source, change, line, known, begin, opaque, could, window_clean, number] = record;
    expect_none_is_default(
        std::tie(source, change, line, known, begin, opaque, could, window_clean, number));
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
    {
        const auto& [repository, tree, job, begin, kept, trigger, files, bytes, unsettled, half] =
            record;
        expect_none_is_default(
            std::tie(repository, tree, job, begin, kept, trigger, files, bytes, unsettled, half));
    }
    {
        const auto& [path, inode, size, mtime, ctime, mtime_ns, ctime_ns, bytes, chunks] =
            record.half.front();
        expect_none_is_default(
            std::tie(path, inode, size, mtime, ctime, mtime_ns, ctime_ns, bytes, chunks));
    }
    auto back = decode_checkpoint(encode(record));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, record);
    const std::string bytes = encode(record);
    for (std::size_t cut = 0; cut < bytes.size(); ++cut)
        (void)decode_checkpoint(bytes.substr(0, cut));  // refused or shorter, never a crash
}

// What is in the databases of people must be understood by later programs.
TEST(StateCodec, RecordsAreKeptInTheSameFormForEver) {
    const auto hex = [](const std::string& bytes) {
        std::string text;
        for (const unsigned char byte : bytes) {
            char two[3];
            std::snprintf(two, sizeof two, "%02x", byte);
            text += two;
        }
        return text;
    };
    JobRecord job{.id = 300, .kind = "backup", .set = "home", .uid = 1000};
    job.begin = Timestamp(Duration(1700000000123456789));
    job.end = Timestamp{};
    job.counts = {{"files-new", 1}, {"", 0}, {"b", UINT64_MAX}};
    EXPECT_EQ(hex(encode(job)),
              "0102ac0202066261636b75700304686f6d650702e8070909959a97ece39fe7cb170a0100"
              "100a0166696c65732d6e6577100100100bffffffffffffffffff0162");
    CheckpointRecord checkpoint{.repository_id = "r", .job = 7, .unsettled = {"/a", "/b"}};
    checkpoint.half.push_back({.path = "/x", .mtime_seconds = -3, .mtime_nanoseconds = 5});
    checkpoint.half.back().chunks = std::string(2, '\0');
    EXPECT_EQ(hex(encode(checkpoint)),
              "01017203010709022f6109022f620a1701022f78040afdffffffffffffffff0105010509020000");
    GuardRecord guard;
    guard.source.kind = "k";
    guard.source.pins = true;
    guard.source.since = Timestamp(Duration(9));
    guard.window_opaque = 4;
    guard.line.message = "m";
    EXPECT_EQ(hex(encode(guard)), "010901016b0301090a0101040104080305016d");
    RepositoryRecord repository{.repository_id = "x", .sheet_tested = true};
    repository.last_check = Timestamp(Duration(-1));
    EXPECT_EQ(hex(encode(repository)), "010178030101040affffffffffffffffff01");
}

}  // namespace
}  // namespace backup::state
