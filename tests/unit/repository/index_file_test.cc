#include "daemon/repository/index_file.h"

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

struct Collected final : IndexVisitor {
    void pack(const PackId& id, std::span<const PackedBlob> blobs) override {
        packs.emplace_back(id.hex(), std::vector<PackedBlob>(blobs.begin(), blobs.end()));
    }
    void pack_to_delete(const PackId& id, std::span<const PackedBlob> blobs,
                        const PackMark& mark) override {
        marks[id] = mark;
        to_delete.emplace_back(id.hex(), std::vector<PackedBlob>(blobs.begin(), blobs.end()));
    }
    void supersedes(const IndexId& index) override { superseded.push_back(index.hex()); }

    std::vector<std::pair<std::string, std::vector<PackedBlob>>> packs, to_delete;
    std::vector<std::string> superseded;
    std::map<PackId, PackMark> marks;
};

Result<> decode(const std::string& text, Collected& into, unsigned version = 2) {
    return decode_index(as_bytes(text), version, into);
}
Result<> decode(const std::string& text, unsigned version = 2) {
    Collected ignored;
    return decode(text, ignored, version);
}

const std::string kA(64, 'a'), kB(64, 'b'), kC(64, 'c');

std::string blob_text(const std::string& more = R"("offset":0,"length":40)",
                      const std::string& id = kB, const std::string& type = "data") {
    return R"({"id":")" + id + R"(","type":")" + type + "\"," + more + "}";
}
std::string index_text(const std::string& blobs, const std::string& pack = kA) {
    return R"({"packs":[{"id":")" + pack + R"(","blobs":[)" + blobs + "]}]}";
}

TEST(IndexFile, IndexesOfResticAreDecodedToTheLastField) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        for (const auto& [id, file] : repository.expected()["indexes"].items()) {
            auto expected = nlohmann::json::parse(file["json"].get<std::string>());
            Collected found;
            ASSERT_TRUE(
                decode_index(repository.unpacked("index/" + id), repository.version(), found).ok());
            auto compare = [](const nlohmann::json& packs, const auto& got) {
                ASSERT_EQ(got.size(), packs.size());
                for (std::size_t p = 0; p < packs.size(); ++p) {
                    EXPECT_EQ(got[p].first, packs[p]["id"].get<std::string>());
                    ASSERT_EQ(got[p].second.size(), packs[p]["blobs"].size());
                    for (std::size_t b = 0; b < packs[p]["blobs"].size(); ++b) {
                        const auto& want = packs[p]["blobs"][b];
                        const PackedBlob& blob = got[p].second[b];
                        EXPECT_EQ(blob.id.hex(), want["id"].get<std::string>());
                        EXPECT_EQ(to_string(blob.type), want["type"].get<std::string>());
                        EXPECT_EQ(blob.offset, want["offset"].get<std::uint32_t>());
                        EXPECT_EQ(blob.length, want["length"].get<std::uint32_t>());
                        EXPECT_EQ(blob.uncompressed_length, want.value("uncompressed_length", 0u));
                    }
                }
            };
            compare(expected["packs"], found.packs);
            compare(expected.value("packs_to_delete", nlohmann::json::array()), found.to_delete);
            EXPECT_EQ(found.superseded.size(),
                      expected.value("supersedes", nlohmann::json::array()).size());
        }
    }
}

TEST(IndexFile, EncodesByteForByteAsRestic) {
    for (const char* name : {"v1", "v2"}) {
        FixtureRepository repository(name);
        for (const auto& [id, file] : repository.expected()["indexes"].items()) {
            Bytes text = repository.unpacked("index/" + id);
            Collected found;
            ASSERT_TRUE(decode_index(text, repository.version(), found).ok());
            IndexEncoder encoder;
            for (const auto& [pack, blobs] : found.packs)
                encoder.add_pack(*PackId::from_hex(pack), blobs);
            EXPECT_EQ(as_text(encoder.finish()), as_text(text));
        }
    }
}

TEST(IndexFile, TheEncoderStartsAnewAfterFinish) {
    IndexEncoder encoder;
    EXPECT_TRUE(encoder.is_empty());
    EXPECT_EQ(as_text(encoder.finish()), "{\"packs\":[]}\n");
    PackedBlob blob;
    blob.id = *BlobId::from_hex(kB);
    blob.length = 40;
    for (int round = 0; round < 2; ++round) {
        encoder.add_pack(*PackId::from_hex(kA), std::vector{blob});
        EXPECT_EQ(encoder.blobs(), 1u);
        EXPECT_EQ(encoder.packs(), 1u);
        EXPECT_EQ(as_text(encoder.finish()), index_text(blob_text()) + "\n");
    }
}

TEST(IndexFile, FieldsMayComeInAnyOrderWithOthersBetween) {
    Collected found;
    auto done = decode(
        R"( {"time":"x","packs_to_delete":[{"blobs":[],"time":"2024-01-01T00:00:00Z","id":")" + kC +
            R"(","size":7}], "packs" : [ {"blobs":[ {"length":40,"extra":[1,2,{"a":[null]}],"type":"tree","offset":5,"id":")" +
            kB + R"(","uncompressed_length":9} ],"size":1.5e3,"id":")" + kA +
            R"("} ],"supersedes":[")" + kB + R"("]} )",
        found);
    ASSERT_TRUE(done.ok()) << done.error().message();
    ASSERT_EQ(found.packs.size(), 1u);
    EXPECT_EQ(found.packs[0].first, kA);
    const PackedBlob& blob = found.packs[0].second.at(0);
    EXPECT_EQ(blob.type, BlobType::tree);
    EXPECT_EQ(blob.offset, 5u);
    EXPECT_EQ(blob.uncompressed_length, 9u);
    ASSERT_EQ(found.to_delete.size(), 1u);
    EXPECT_EQ(found.to_delete[0].first, kC);
    EXPECT_EQ(found.superseded, std::vector{kB});
}

TEST(IndexFile, EmptyAndNullListsAreFine) {
    EXPECT_TRUE(decode(R"({"packs":[]})").ok());
    EXPECT_TRUE(decode(R"({"packs":null,"supersedes":null,"packs_to_delete":null})").ok());
    EXPECT_TRUE(decode(index_text("")).ok());
    EXPECT_TRUE(decode(R"({"packs":[{"id":")" + kA + R"(","blobs":null}]})").ok());
}

TEST(IndexFile, BadIndexesAreCorrupt) {
    const std::string good = index_text(blob_text());
    ASSERT_TRUE(decode(good).ok());
    std::vector<std::string> bad{
        "",
        "null",
        "[]",
        "{}",
        R"({"packs":{}})",
        R"({"packs":[1]})",
        R"({"packs":[{}]})",
        good + "x",
        good + good,
        R"({"packs":[],"packs":[]})",
        index_text("", kA.substr(1)),
        index_text("", std::string(64, 'A')),
        index_text("", std::string(64, '0')),
        index_text(blob_text(R"("offset":0,"length":40)", kB.substr(1))),
        index_text(blob_text(R"("offset":0,"length":40)", std::string(64, '0'))),
        index_text(blob_text(R"("offset":0,"length":40)", kB, "leaf")),
        index_text(blob_text(R"("offset":0)")),
        index_text(blob_text(R"("length":40)")),
        index_text(blob_text(R"("offset":0,"length":31)")),
        index_text(blob_text(R"("offset":-1,"length":40)")),
        index_text(blob_text(R"("offset":0.5,"length":40)")),
        index_text(blob_text(R"("offset":0,"length":4294967296)")),
        index_text(blob_text(R"("offset":4294967296,"length":40)")),
        index_text(blob_text(R"("offset":4294967280,"length":40)")),
        index_text(blob_text(R"("offset":0,"length":40,"uncompressed_length":4294967296)")),
        index_text(blob_text(R"("offset":0,"length":40,"uncompressed_length":-1)")),
        index_text(blob_text() + ","),
        index_text(R"({"type":"data","offset":0,"length":40})"),
        index_text(R"({"id":")" + kB + R"(","offset":0,"length":40})"),
        R"({"packs":[],"supersedes":["x"]})",
    };
    for (std::size_t cut = 0; cut < good.size(); ++cut) bad.push_back(good.substr(0, cut));
    for (const std::string& text : bad) {
        auto done = decode(text);
        ASSERT_FALSE(done.ok()) << text;
        EXPECT_EQ(done.error().kind(), ErrorKind::corrupt) << text;
    }
}

TEST(IndexFile, CompressedBlobsInVersion1AreCorrupt) {
    std::string text = index_text(blob_text(R"("offset":0,"length":40,"uncompressed_length":9)"));
    EXPECT_TRUE(decode(text, 2).ok());
    EXPECT_FALSE(decode(text, 1).ok());
}

TEST(IndexFile, HostileNestingIsRefused) {
    EXPECT_FALSE(decode("{\"x\":" + std::string(100'000, '[')).ok());
    EXPECT_FALSE(
        decode("{\"x\":" + std::string(1000, '[') + std::string(1000, ']') + ",\"packs\":[]}")
            .ok());
}

TEST(IndexFile, AFullIndexComesBack) {
    IndexEncoder encoder;
    std::vector<PackedBlob> blobs(100);
    std::uint32_t number = 0;
    for (int pack = 0; pack < 500; ++pack) {
        std::uint32_t offset = 0;
        for (PackedBlob& blob : blobs) {
            store_le32(blob.id.bytes.data() + 3, ++number);
            blob.offset = offset;
            blob.length = 32 + number % 1000;
            blob.uncompressed_length = number % 3 == 0 ? 0 : number;
            blob.type = number % 2 == 0 ? BlobType::tree : BlobType::data;
            offset += blob.length;
        }
        PackId id;
        store_le32(id.bytes.data(), static_cast<std::uint32_t>(pack + 1));
        encoder.add_pack(id, blobs);
    }
    Bytes text = encoder.finish();
    Collected found;
    ASSERT_TRUE(decode_index(text, 2, found).ok());
    ASSERT_EQ(found.packs.size(), 500u);
    EXPECT_EQ(found.packs.back().second, blobs);
}

TEST(IndexFile, MarksStandBesideThePacks) {
    IndexEncoder encoder;
    PackId listed, unlisted;
    listed.bytes[0] = 1;
    unlisted.bytes[0] = 2;
    const PackMark one{Timestamp(std::chrono::seconds(1'800'000'000)), 1234, false};
    const PackMark two{Timestamp(std::chrono::seconds(1'800'000'001)), 0, true};
    encoder.add_mark(listed, one);
    encoder.add_mark(unlisted, two);
    EXPECT_FALSE(encoder.is_empty());
    const Bytes alone = encoder.finish();
    Collected found;
    ASSERT_TRUE(decode_index(alone, 2, found).ok()) << as_text(alone);
    EXPECT_TRUE(found.packs.empty());
    EXPECT_EQ(found.marks.at(listed), one);
    EXPECT_EQ(found.marks.at(unlisted), two);
    EXPECT_TRUE(found.to_delete.front().second.empty());
    EXPECT_EQ(as_text(encoder.finish()), "{\"packs\":[]}\n") << "empty again";
}

TEST(IndexFile, AMarkWithoutATimeIsNeverDue) {
    Collected found;
    ASSERT_TRUE(
        decode(R"({"packs":[],"packs_to_delete":[{"id":")" + kA + R"(","blobs":[]}]})", found)
            .ok());
    EXPECT_EQ(found.marks.begin()->second.time, Timestamp::max());
}

}  // namespace
}  // namespace backup
