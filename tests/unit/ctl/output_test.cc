// Exit codes, JSON forms, secrets and the recovery sheet.
#include <set>

#include <gtest/gtest.h>
#include <unistd.h>

#include "ctl/exit_code.h"
#include "ctl/follow.h"
#include "ctl/json.h"
#include "ctl/recovery_sheet.h"
#include "ctl/secret.h"
#include "ctl/stream.h"

namespace backup {
namespace {

int code_of(const char* error) {
    return static_cast<int>(exit_code(error_code_from_bus(error)));
}

TEST(ExitCodes, FollowTheTable) {
    const std::string ours = "org.backupd1.Error.";
    const std::pair<const char*, int> kOurs[] = {{"NoSuchSet", 5},
                                                 {"NoSuchRevision", 5},
                                                 {"NoSuchPath", 5},
                                                 {"NoSuchJob", 5},
                                                 {"NoSuchRepository", 5},
                                                 {"RepositoryMissing", 10},
                                                 {"RepositoryLocked", 11},
                                                 {"WrongPassword", 12},
                                                 {"Offline", 13},
                                                 {"RepositoryUnavailable", 13},
                                                 {"RepositoryDamaged", 14},
                                                 {"Conflict", 7},
                                                 {"QuotaExceeded", 8},
                                                 {"PolicyDenied", 8},
                                                 {"Paused", 75},
                                                 {"NoSpace", 1},
                                                 {"ShuttingDown", 6},
                                                 {"Busy", 1},
                                                 {"SomethingNew", 1}};
    for (auto [name, code] : kOurs) EXPECT_EQ(code_of((ours + name).c_str()), code) << name;
    const std::pair<const char*, int> kBus[] = {
        {"AccessDenied", 4},   {"InteractiveAuthorizationRequired", 4},
        {"InvalidArgs", 2},    {"ServiceUnknown", 6},
        {"NoReply", 6},        {"NameHasNoOwner", 6},
        {"LimitsExceeded", 1}, {"Spawn.ChildExited", 6}};
    for (auto [name, code] : kBus)
        EXPECT_EQ(code_of((std::string("org.freedesktop.DBus.Error.") + name).c_str()), code)
            << name;
    EXPECT_EQ(code_of("org.freedesktop.systemd1.NoSuchUnit"), 6);
}

TEST(ExitCodes, OfJobs) {
    auto of = [](const char* result, const char* error) {
        return static_cast<int>(exit_code_of_job(result, error));
    };
    EXPECT_EQ(of("complete", ""), 0);
    EXPECT_EQ(of("exceptions", ""), 3);
    EXPECT_EQ(of("failed", ""), 1);
    EXPECT_EQ(of("failed", "org.backupd1.Error.Conflict"), 7);
    EXPECT_EQ(of("failed", "org.backupd1.Error.RepositoryDamaged"), 14);
    EXPECT_EQ(of("cancelled", "org.backupd1.Error.Cancelled"), 1);
    EXPECT_EQ(of("interrupted", ""), 1);
}

TEST(Json, KeepsOrderAndEscapes) {
    JsonObject object;
    object.add("schema", 1)
        .add("text", "a\"b\n\x01")
        .add("yes", true)
        .add("big", std::uint64_t{UINT64_MAX})
        .add_null("none");
    object.add("list", std::vector<std::string>{"x", "y"})
        .add("half", 0.5)
        .add("in", JsonObject().add("a", std::int64_t{-1}));
    EXPECT_EQ(
        object.text(),
        R"({"schema":1,"text":"a\"b\n\u0001","yes":true,"big":18446744073709551615,"none":null,"list":["x","y"],"half":0.5,"in":{"a":-1}})");
}

TEST(Json, NamesThatAreNotUtf8ComeInBase64) {
    EXPECT_EQ(JsonObject().add_bytes("path", "/a/\xff").text(), R"({"path_b64":"L2Ev/w=="})");
    EXPECT_EQ(JsonObject().add_bytes("path", "/ü").text(), R"({"path":"/ü"})");
    auto record = Record::parse(R"({"path_b64":"L2Ev/w=="})");
    ASSERT_TRUE(record.ok());
    EXPECT_EQ(record->bytes("path"), "/a/\xff");
}

TEST(Json, RecordsForgiveAbsentKeysAndWrongTypes) {
    auto record = Record::parse(R"({"n":5,"m":-5,"s":"x","o":{"a":1,"b":"x","c":-2},"f":true})");
    ASSERT_TRUE(record.ok());
    EXPECT_EQ(record->number("n"), 5u);
    EXPECT_EQ(record->number("m"), 0u);
    EXPECT_EQ(record->integer("m"), -5);
    EXPECT_EQ(record->number("s"), 0u);
    EXPECT_EQ(record->text("n"), "");
    EXPECT_EQ(record->numbers("o"), (std::vector<std::pair<std::string, std::uint64_t>>{{"a", 1}}));
    EXPECT_TRUE(record->flag("f"));
    for (const char* bad : {"", "[]", "5", "{", "{}x"})
        EXPECT_FALSE(Record::parse(bad).ok()) << bad;
}

TEST(Counts, BecomeAnObjectWithUnderscores) {
    Dict details;
    details.set("files-new", Value(std::uint64_t{3}));
    details.set("seconds", Value(0.5));
    details.set("revision", "abc");
    EXPECT_EQ(counts_object(details).text(), R"({"files_new":3})");
}

Stream stream_of(const std::string& text) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(ends[1]);
    return Stream(UniqueFd(ends[0]));
}

TEST(Streams, EndWithTheirLastLine) {
    Stream stream = stream_of("{\"a\":1}\n{\"a\":2}\n{\"end\":true,\"count\":2}\n");
    EXPECT_EQ((*stream.next())->number("a"), 1u);
    EXPECT_EQ((*stream.next())->number("a"), 2u);
    EXPECT_FALSE(stream.next()->has_value());
    EXPECT_FALSE(stream.next()->has_value());
}

TEST(Streams, WithoutTheLastLineAreNotWhole) {
    Stream stream = stream_of("{\"a\":1}\n{\"a\":");
    EXPECT_TRUE(stream.next().ok());
    EXPECT_FALSE(stream.next().ok());
}

TEST(Streams, CarryTheErrorOfTheDaemon) {
    Stream stream = stream_of(
        "{\"end\":true,\"error\":\"org.backupd1.Error.NoSuchPath\",\"message\":\"no /x\"}\n");
    auto end = stream.next();
    ASSERT_FALSE(end.ok());
    EXPECT_EQ(end.error().code(), ErrorCode::no_such_path);
    EXPECT_EQ(end.error().message(), "no /x");
}

TEST(Passwords, AreLongDifferentAndReadable) {
    std::set<std::string> seen;
    std::set<char> letters;
    for (int i = 0; i < 200; ++i) {
        auto secret = generate_password();
        ASSERT_TRUE(secret.ok());
        const std::string& text = secret->text();
        ASSERT_EQ(text.size(), 39u);
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (at % 5 == 4) {
                EXPECT_EQ(text[at], '-');
            } else {
                letters.insert(text[at]);
            }
        }
        EXPECT_TRUE(seen.insert(text).second);
    }
    EXPECT_EQ(letters.size(), 32u);
    for (char confusing : {'i', 'l', 'o', 'u', 'O', 'I'}) EXPECT_EQ(letters.count(confusing), 0u);
}

TEST(Passwords, TravelInASealedFile) {
    auto fd = secret_fd(Secret("swordfish"));
    ASSERT_TRUE(fd.ok());
    char buffer[32] = {};
    EXPECT_EQ(read(fd->get(), buffer, sizeof buffer), 9);
    EXPECT_STREQ(buffer, "swordfish");
    EXPECT_EQ(write(fd->get(), "x", 1), -1);
}

TEST(RecoverySheets, NameEverythingNeeded) {
    RecoverySheet sheet{"disk", "/mnt/my backup", "abc123", "host", "2026-11-22", "pass-word"};
    std::string text = recovery_text(sheet);
    for (const char* part :
         {"/mnt/my backup", "abc123", "pass-word", "restic -r '/mnt/my backup' check",
          "restic -r '/mnt/my backup' restore latest --target", "backupctl repo test disk"})
        EXPECT_NE(text.find(part), std::string::npos) << part;
}

TEST(RecoverySheets, WritePermissionIsOnlyHintedWhereItIsNeeded) {
    EXPECT_EQ(write_permission_hint("/var/lib/backupd/repositories/x"), "");
    EXPECT_EQ(write_permission_hint("sftp:host:/x"), "");
    EXPECT_NE(write_permission_hint("/mnt/disk").find("ReadWritePaths=/mnt/disk"),
              std::string::npos);
}

}  // namespace
}  // namespace backup
