#include "daemon/repository/pack.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

BlobId id_of(std::uint8_t number) {
    BlobId id;
    id.bytes.fill(number);
    return id;
}

struct Entry {
    std::uint8_t type = 0;
    std::uint32_t length = 40;
    std::uint32_t uncompressed = 0;
    std::uint8_t id = 1;
};

Bytes header_of(const std::vector<Entry>& entries) {
    Bytes header;
    for (const Entry& entry : entries) {
        header.push_back(entry.type);
        std::uint8_t number[4];
        store_le32(number, entry.length);
        append(header, number);
        if (entry.type >= 2) {
            store_le32(number, entry.uncompressed);
            append(header, number);
        }
        append(header, id_of(entry.id).bytes);
    }
    return header;
}

// The size of the pack that fits to the header.
std::uint64_t size_of(const std::vector<Entry>& entries) {
    std::uint64_t size = header_of(entries).size() + kSealOverhead + 4;
    for (const Entry& entry : entries) size += entry.length;
    return size;
}

TEST(Pack, HeadersOfResticAreDecodedToTheLastField) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        for (const auto& [id, expected] : repository.expected()["packs"].items()) {
            Bytes pack = repository.pack(id);
            ASSERT_EQ(pack.size(), expected["size"].get<std::size_t>());
            EXPECT_EQ(content_id<PackId>(pack).hex(), id);
            ByteView tail = ByteView(pack).last(std::min(pack.size(), kPackTailGuess));
            auto blobs =
                decode_pack_tail(tail, pack.size(), repository.version(), repository.key());
            ASSERT_TRUE(blobs.ok()) << blobs.error().message();
            ASSERT_EQ(blobs->size(), expected["header"].size());
            for (std::size_t i = 0; i < blobs->size(); ++i) {
                const PackedBlob& blob = blobs.value()[i];
                const auto& entry = expected["header"][i];
                EXPECT_EQ(blob.id.hex(), entry["id"].get<std::string>());
                EXPECT_EQ(blob.offset, entry["offset"].get<std::uint32_t>());
                EXPECT_EQ(blob.length, entry["length"].get<std::uint32_t>());
                EXPECT_EQ(blob.uncompressed_length,
                          entry["uncompressed_length"].is_null()
                              ? 0
                              : entry["uncompressed_length"].get<std::uint32_t>());
                int type =
                    (blob.type == BlobType::tree ? 1 : 0) + (blob.uncompressed_length != 0 ? 2 : 0);
                EXPECT_EQ(type, entry["type_byte"].get<int>());
            }
            EXPECT_EQ(pack_file_size(blobs.value()), pack.size());
        }
    }
}

TEST(Pack, EveryBlobOfResticOpensToItsId) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        for (const auto& [id, expected] : repository.expected()["packs"].items()) {
            Bytes pack = repository.pack(id);
            auto blobs =
                decode_pack_tail(pack, pack.size(), repository.version(), repository.key());
            ASSERT_TRUE(blobs.ok());
            for (const PackedBlob& blob : blobs.value()) {
                auto plain =
                    repository.key().unseal(ByteView(pack).subspan(blob.offset, blob.length));
                ASSERT_TRUE(plain.ok());
                if (blob.uncompressed_length != 0)
                    plain = decompress_blob(Bytes(plain.value()), blob.uncompressed_length);
                ASSERT_TRUE(plain.ok()) << plain.error().message();
                EXPECT_EQ(blob_id(plain.value()), blob.id);
                if (blob.type == BlobType::tree) {
                    EXPECT_EQ(to_base64(plain.value()),
                              repository.expected()["trees"][blob.id.hex()].get<std::string>());
                }
            }
        }
    }
}

TEST(Pack, WhatWasBuiltIsDecoded) {
    MasterKey key = MasterKey::generate();
    Bytes pack;
    std::vector<PackedBlob> blobs;
    for (std::uint8_t i = 1; i <= 50; ++i) {
        PackedBlob blob;
        blob.type = i % 3 == 0 ? BlobType::tree : BlobType::data;
        blob.id = id_of(i);
        blob.offset = static_cast<std::uint32_t>(pack.size());
        key.seal_into(pack, Bytes(i * 10u, i));
        blob.length = static_cast<std::uint32_t>(pack.size()) - blob.offset;
        blob.uncompressed_length = i % 2 == 0 ? 1000u + i : 0;
        blobs.push_back(blob);
    }
    std::uint64_t expected = pack_file_size(blobs);
    pack.reserve(expected);
    const std::uint8_t* before = pack.data();
    append_pack_header(pack, blobs, key);
    EXPECT_EQ(pack.size(), expected);
    EXPECT_EQ(pack.data(), before) << "nothing was allocated";
    auto needed = pack_tail_length(ByteView(pack).last(4), pack.size());
    ASSERT_TRUE(needed.ok());
    auto decoded = decode_pack_tail(ByteView(pack).last(needed.value()), pack.size(), 2, key);
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded.value(), blobs);
}

TEST(Pack, AGoodHeaderIsAccepted) {
    std::vector<Entry> entries{
        {0, 32, 0, 1}, {1, 100, 0, 2}, {2, 50, 7, 3}, {3, 60, 4'000'000'000u, 4}};
    auto blobs = decode_pack_header(header_of(entries), size_of(entries), 2);
    ASSERT_TRUE(blobs.ok()) << blobs.error().message();
    EXPECT_EQ(blobs->at(3).offset, 182u);
    EXPECT_EQ(blobs->at(3).type, BlobType::tree);
    std::vector<Entry> smallest{{0, 32, 0, 1}};
    EXPECT_EQ(size_of(smallest), kLeastPackBytes + 32);
    EXPECT_TRUE(decode_pack_header(header_of(smallest), size_of(smallest), 1).ok());
}

void expect_corrupt(const Result<std::vector<PackedBlob>>& result, const char* what) {
    ASSERT_FALSE(result.ok()) << what;
    EXPECT_EQ(result.error().kind(), ErrorKind::corrupt) << what;
}

TEST(Pack, BadHeadersAreCorrupt) {
    std::vector<Entry> good{{0, 40, 0, 1}, {2, 50, 7, 2}};
    Bytes header = header_of(good);
    std::uint64_t size = size_of(good);
    ASSERT_TRUE(decode_pack_header(header, size, 2).ok());

    expect_corrupt(decode_pack_header({}, 36, 2), "empty");
    for (std::size_t cut = 1; cut < header.size(); ++cut)
        expect_corrupt(decode_pack_header(ByteView(header).first(cut), size, 2),
                       "ends inside an entry");
    expect_corrupt(decode_pack_header(header, size + 1, 2), "gap");
    expect_corrupt(decode_pack_header(header, size - 1, 2), "too long for the file");
    expect_corrupt(decode_pack_header(header, 10, 2), "file shorter than the header");
    expect_corrupt(decode_pack_header(header, (std::uint64_t{1} << 32) + size, 2), "above 4 GiB");
    expect_corrupt(decode_pack_header(header, size, 1), "compressed in version 1");
    auto rejects = [&](std::vector<Entry> entries, const char* what) {
        expect_corrupt(decode_pack_header(header_of(entries), size_of(entries), 2), what);
    };
    rejects({{4, 40, 7, 1}}, "type");
    rejects({{255, 40, 7, 1}}, "type");
    rejects({{0, 31, 0, 1}}, "shorter than IV and MAC");
    rejects({{0, 0, 0, 1}}, "no length");
    rejects({{2, 40, 0, 1}}, "compressed to nothing");
    rejects({{0, 40, 0, 0}}, "null id");
    // The sum of the lengths wraps around 2^32 to the right value.
    std::vector<Entry> wrapping{{0, 0xffffffff, 0, 1}, {0, 41, 0, 2}};
    expect_corrupt(decode_pack_header(header_of(wrapping), header_of(wrapping).size() + 36 + 40, 2),
                   "wraps");
}

TEST(Pack, BadTrailersAreCorrupt) {
    auto needed = [](std::uint32_t length, std::uint64_t size) {
        std::uint8_t trailer[4];
        store_le32(trailer, length);
        return pack_tail_length(trailer, size);
    };
    EXPECT_EQ(needed(69, 200).value(), 73u);
    EXPECT_FALSE(needed(0, 200).ok());
    EXPECT_FALSE(needed(31, 200).ok());
    EXPECT_FALSE(needed(68, 200).ok()) << "not even one entry";
    EXPECT_FALSE(needed(197, 200).ok()) << "longer than the file";
    EXPECT_TRUE(needed(196, 200).ok());
    EXPECT_FALSE(needed((16u << 20) + 1, std::uint64_t{1} << 30).ok()) << "above 16 MiB";
    EXPECT_TRUE(needed(16u << 20, std::uint64_t{1} << 30).ok());
    EXPECT_FALSE(needed(0xffffffff, std::uint64_t{1} << 33).ok());
    EXPECT_FALSE(needed(69, 72).ok()) << "no pack is that small";
    EXPECT_FALSE(pack_tail_length(Bytes(3, std::uint8_t{1}), 200).ok());
}

TEST(Pack, ATamperedHeaderOrAShortTailIsCorrupt) {
    FixtureRepository repository("v2");
    const std::string id = repository.expected()["packs"].begin().key();
    Bytes pack = repository.pack(id);
    std::size_t tail = pack_tail_length(ByteView(pack).last(4), pack.size()).value();
    expect_corrupt(
        decode_pack_tail(ByteView(pack).last(tail - 1), pack.size(), 2, repository.key()),
        "short tail");
    for (std::size_t at : {pack.size() - 5, pack.size() - tail, pack.size() - tail + 20}) {
        Bytes damaged = pack;
        damaged[at] ^= 1;
        expect_corrupt(decode_pack_tail(damaged, damaged.size(), 2, repository.key()), "tampered");
    }
}

}  // namespace
}  // namespace backup
