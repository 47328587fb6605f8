#include "daemon/repository/snapshot.h"

#include <gtest/gtest.h>

#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

const std::string kTree(64, 'a');

std::string minimal(const std::string& more = "") {
    return R"({"time":"2024-01-02T03:04:05.5+01:00","tree":")" + kTree + R"(","paths":["/x"])" +
           more + "}";
}

TEST(SnapshotFile, ThoseOfResticAreReadAndWrittenByteForByte) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        for (const auto& [id, file] : repository.expected()["snapshots"].items()) {
            std::string text = file["json"];
            Bytes stored = repository.unpacked("snapshots/" + id);
            EXPECT_EQ(as_text(stored), text);
            auto snapshot = decode_snapshot(stored);
            ASSERT_TRUE(snapshot.ok()) << snapshot.error().message();
            auto json = nlohmann::json::parse(text);
            EXPECT_EQ(snapshot->tree.hex(), json["tree"].get<std::string>());
            EXPECT_EQ(snapshot->hostname, json["hostname"].get<std::string>());
            EXPECT_EQ(snapshot->paths, json["paths"].get<std::vector<std::string>>());
            if (!json.contains("unknown_field")) {
                EXPECT_EQ(encode_snapshot(snapshot.value()), text);
            }
        }
    }
}

TEST(SnapshotFile, EveryFieldComesBack) {
    Snapshot snapshot;
    snapshot.time = parse_rfc3339("2024-07-01T12:00:00.123456789Z").value();
    snapshot.time_text = "2024-07-01T14:00:00.123456789+02:00";
    snapshot.parent = RevisionId::from_hex(std::string(64, 'b'));
    snapshot.tree = *BlobId::from_hex(kTree);
    snapshot.paths = {"/b", "/a", "/<\xc3\xa4>"};
    snapshot.hostname = "host";
    snapshot.username = "user";
    snapshot.uid = 1000;
    snapshot.gid = 4294967295;
    snapshot.excludes = {"*.bak"};
    snapshot.tags = {"one", "two"};
    snapshot.original = RevisionId::from_hex(std::string(64, 'c'));
    snapshot.program_version = "backupd 0.1.0";
    SnapshotSummary summary;
    summary.backup_start = snapshot.time;
    summary.files_new = 1;
    summary.total_bytes_processed = UINT64_MAX;
    snapshot.summary = summary;
    std::string text = encode_snapshot(snapshot);
    auto back = decode_snapshot(as_bytes(text));
    ASSERT_TRUE(back.ok()) << back.error().message();
    EXPECT_EQ(encode_snapshot(back.value()), text);
    EXPECT_EQ(back->time, snapshot.time);
    EXPECT_EQ(back->time_text, snapshot.time_text);
    EXPECT_EQ(back->parent, snapshot.parent);
    EXPECT_EQ(back->paths, snapshot.paths);
    EXPECT_EQ(back->gid, snapshot.gid);
    EXPECT_EQ(back->tags, snapshot.tags);
    EXPECT_EQ(back->summary->total_bytes_processed, UINT64_MAX);
    EXPECT_EQ(back->summary->backup_start, snapshot.time);
    // The order is that of the format.
    std::size_t at = 0;
    for (const char* name : {"time",
                             "parent",
                             "tree",
                             "paths",
                             "hostname",
                             "username",
                             "uid",
                             "gid",
                             "excludes",
                             "tags",
                             "original",
                             "program_version",
                             "summary",
                             "backup_start",
                             "backup_end",
                             "files_new",
                             "files_changed",
                             "files_unmodified",
                             "dirs_new",
                             "dirs_changed",
                             "dirs_unmodified",
                             "data_blobs",
                             "tree_blobs",
                             "data_added",
                             "data_added_packed",
                             "total_files_processed",
                             "total_bytes_processed"}) {
        std::size_t found = text.find("\"" + std::string(name) + "\":");
        ASSERT_NE(found, std::string::npos) << name;
        EXPECT_GE(found, at) << name;
        at = found;
    }
}

TEST(SnapshotFile, EmptyFieldsAreLeftOutAndPathsNever) {
    Snapshot snapshot;
    snapshot.time_text = "2024-01-01T00:00:00Z";
    snapshot.tree = *BlobId::from_hex(kTree);
    EXPECT_EQ(encode_snapshot(snapshot),
              R"({"time":"2024-01-01T00:00:00Z","tree":")" + kTree + R"(","paths":[]})");
}

TEST(SnapshotFile, UnknownFieldsAndOddSummariesAreNoObstacle) {
    for (
        const char* more :
        {R"(,"parents":["x"],"label":"","delete":{"Never":1})", R"(,"summary":null)",
         R"(,"summary":[1])",
         R"(,"summary":{"files_new":1.5,"backup_duration":0.3,"command":"x","backup_start":"yesterday"})",
         R"(,"parent":null,"tags":null,"excludes":null,"original":null)"}) {
        auto snapshot = decode_snapshot(as_bytes(minimal(more)));
        EXPECT_TRUE(snapshot.ok()) << more;
    }
    auto snapshot = decode_snapshot(as_bytes(minimal(R"(,"summary":{"files_new": 5 ,"x":1})")));
    EXPECT_EQ(snapshot->summary->files_new, 5u);
}

TEST(SnapshotFile, BadSnapshotsAreCorrupt) {
    std::vector<std::string> bad{
        "",
        "{}",
        "[]",
        minimal() + "x",
        minimal(R"(,"uid":-1)"),
        minimal(R"(,"uid":4294967296)"),
        minimal(R"(,"tags":"x")"),
        minimal(R"(,"tags":[1])"),
        minimal(R"(,"parent":"abc")"),
        minimal(R"(,"hostname":1)"),
        R"({"time":"2024-01-01T00:00:00Z","paths":[]})",
        R"({"tree":")" + kTree + R"(","paths":[]})",
        R"({"time":"yesterday","tree":")" + kTree + R"("})",
        R"({"time":"2024-01-01T00:00:00Z","tree":"abc"})",
        R"({"time":"2024-01-01T00:00:00Z","tree":null})",
        R"({"time":"2024-01-01T00:00:00Z","tree":")" + std::string(64, '0') + R"("})",
    };
    std::string good = minimal();
    for (std::size_t cut = 0; cut < good.size(); ++cut) bad.push_back(good.substr(0, cut));
    for (const std::string& text : bad) {
        auto snapshot = decode_snapshot(as_bytes(text));
        ASSERT_FALSE(snapshot.ok()) << text;
        EXPECT_EQ(snapshot.error().kind(), ErrorKind::corrupt) << text;
    }
}

TEST(RevisionTags, ComeBackAndKeepTheOthers) {
    RevisionTags tags;
    tags.set = "home";
    tags.number = 7;
    tags.trigger = "user";
    tags.mode = "full";
    tags.exceptions = 2;
    tags.others = {"keep", "backupd:n=x", "backupd:new=1"};
    std::vector<std::string> made = make_tags(tags);
    EXPECT_EQ(made,
              (std::vector<std::string>{"backupd:set=home", "backupd:n=7", "backupd:trigger=user",
                                        "backupd:mode=full", "backupd:exceptions=2", "keep",
                                        "backupd:n=x", "backupd:new=1"}));
    RevisionTags back = parse_revision_tags(made);
    EXPECT_EQ(back.set, "home");
    EXPECT_EQ(back.number, 7u);
    EXPECT_EQ(back.trigger, "user");
    EXPECT_EQ(back.mode, "full");
    EXPECT_EQ(back.exceptions, 2u);
    EXPECT_EQ(back.others, tags.others);
}

TEST(RevisionTags, ASnapshotOfOthersIsNoRevision) {
    RevisionTags tags = parse_revision_tags({"vec", "two"});
    EXPECT_TRUE(tags.set.empty());
    EXPECT_EQ(make_tags(tags), (std::vector<std::string>{"vec", "two"}));
}

TEST(RevisionTags, PinTrashAndEditionComeBack) {
    RevisionTags tags;
    tags.set = "home";
    tags.number = 7;
    tags.is_pinned = true;
    tags.trashed = Timestamp(std::chrono::seconds(1'800'000'000));
    tags.edit = 3;
    const std::vector<std::string> made = make_tags(tags);
    EXPECT_EQ(made,
              (std::vector<std::string>{"backupd:set=home", "backupd:n=7", "backupd:pin",
                                        "backupd:trash=2027-01-15T08:00:00Z", "backupd:edit=3"}));
    const RevisionTags back = parse_revision_tags(made);
    EXPECT_TRUE(back.is_pinned);
    EXPECT_EQ(back.trashed, tags.trashed);
    EXPECT_EQ(back.edit, 3u);
    EXPECT_TRUE(back.others.empty());
}

TEST(RevisionTags, ATrashWithoutATimeIsNone) {
    const RevisionTags tags = parse_revision_tags({"backupd:set=home", "backupd:trash=soon"});
    EXPECT_FALSE(tags.trashed.has_value());
    EXPECT_EQ(tags.others, std::vector<std::string>{"backupd:trash=soon"});
}

}  // namespace
}  // namespace backup
