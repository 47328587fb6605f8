#include "daemon/restore/restore_plan.h"

#include <map>

#include <gtest/gtest.h>

namespace backup {
namespace {

BlobId id_of(std::uint8_t number) {
    BlobId id;
    id.bytes[0] = number;
    id.bytes[8] = number;
    return id;
}

Node file(std::string name, std::vector<BlobId> content, std::uint64_t size) {
    Node node;
    node.name = std::move(name);
    node.type = NodeType::file;
    node.has_content = true;
    node.content = std::move(content);
    node.size = size;
    return node;
}

// An index of blobs of 100 bytes, sealed 132, one after the other in packs of `per_pack`.
LocateBlob packs_of(unsigned per_pack, unsigned known) {
    return [=](const BlobHandle& handle) -> std::optional<BlobLocation> {
        const unsigned number = handle.id.bytes[0];
        if (number >= known) return std::nullopt;
        BlobLocation location;
        location.pack.bytes[0] = static_cast<std::uint8_t>(number / per_pack + 1);
        location.offset = number % per_pack * 132;
        location.length = 132;
        return location;
    };
}

TEST(RestorePlan, ReadsEachBlobOnceAndWritesItToAllItsPlaces) {
    RestoreBatch batch;
    batch.add_object(0, file("a", {id_of(0), id_of(1)}, 200));
    batch.add_object(0, file("b", {id_of(1), id_of(1), id_of(0)}, 300));
    const ContentPlan plan = plan_content(batch, {true, true}, packs_of(10, 10));
    ASSERT_EQ(plan.packs.size(), 1u);
    ASSERT_EQ(plan.runs.size(), 1u);
    EXPECT_EQ(plan.runs[0].blobs, 2u);
    EXPECT_EQ(plan.bytes_to_fetch, 264u);
    ASSERT_EQ(plan.pieces.size(), 5u);
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> places;
    for (const Piece& piece : plan.pieces) places[{piece.object, piece.file_offset}] = piece.offset;
    EXPECT_EQ(places,
              (decltype(places){
                  {{0, 0}, 0}, {{0, 100}, 132}, {{1, 0}, 132}, {{1, 100}, 132}, {{1, 200}, 0}}));
}

TEST(RestorePlan, PiecesOfAPackStandInTheOrderOfTheirOffsets) {
    RestoreBatch batch;
    batch.add_object(0, file("a", {id_of(5), id_of(0), id_of(3)}, 300));
    const ContentPlan plan = plan_content(batch, {true}, packs_of(3, 10));
    ASSERT_EQ(plan.runs.size(), 2u);
    for (const PackRun& run : plan.runs)
        for (std::uint32_t i = run.first; i + 1 < run.first + run.count; ++i)
            EXPECT_LT(plan.pieces[i].offset, plan.pieces[i + 1].offset);
}

TEST(RestorePlan, ARunIsCutAtItsBoundButNeverBetweenPlacesOfOneBlob) {
    RestoreBatch batch;
    batch.add_object(0, file("a", std::vector<BlobId>(50, id_of(0)), 5000));
    batch.add_object(0, file("b", {id_of(1), id_of(2)}, 200));
    const ContentPlan plan = plan_content(batch, {true, true}, packs_of(10, 10), 200);
    ASSERT_EQ(plan.runs.size(), 3u);
    EXPECT_EQ(plan.runs[0].count, 50u);
    EXPECT_EQ(plan.runs[0].blobs, 1u);
    EXPECT_EQ(plan.runs[1].count + plan.runs[2].count, 2u);
}

TEST(RestorePlan, AFileWithAMissingBlobIsRefusedAndNothingIsFetchedForIt) {
    RestoreBatch batch;
    batch.add_object(0, file("whole", {id_of(1)}, 100));
    batch.add_object(0, file("broken", {id_of(2), id_of(99)}, 200));
    const ContentPlan plan = plan_content(batch, {true, true}, packs_of(10, 10));
    ASSERT_EQ(plan.refused.size(), 1u);
    EXPECT_EQ(plan.refused[0].object, 1u);
    EXPECT_EQ(plan.refused[0].missing, id_of(99));
    EXPECT_EQ(plan.pieces.size(), 1u);
}

TEST(RestorePlan, AFileWhoseSizeIsNotThatOfItsBlobsIsRefused) {
    for (std::uint64_t size : {std::uint64_t{1}, std::uint64_t{99}, std::uint64_t{101},
                               std::uint64_t{1} << 60, UINT64_MAX}) {
        RestoreBatch batch;
        batch.add_object(0, file("liar", {id_of(1)}, size));
        const ContentPlan plan = plan_content(batch, {true}, packs_of(10, 10));
        ASSERT_EQ(plan.refused.size(), 1u) << size;
        EXPECT_FALSE(plan.refused[0].missing);
        EXPECT_TRUE(plan.pieces.empty());
    }
}

TEST(RestorePlan, WhatIsNotWantedIsNotFetched) {
    RestoreBatch batch;
    batch.add_object(0, file("a", {id_of(0)}, 100));
    batch.add_object(0, file("b", {id_of(1)}, 100));
    const ContentPlan plan = plan_content(batch, {false, true}, packs_of(10, 10));
    ASSERT_EQ(plan.pieces.size(), 1u);
    EXPECT_EQ(plan.pieces[0].object, 1u);
}

TEST(RestorePlan, ABatchIsFullAtAnyOfItsBounds) {
    const BatchLimits limits{.objects = 3, .blobs = 10, .text_bytes = 1000, .content_bytes = 5000};
    RestoreBatch by_objects;
    for (const char* name : {"a", "b", "c"}) {
        EXPECT_FALSE(by_objects.is_full(limits));
        by_objects.add_object(0, file(name, {}, 0));
    }
    EXPECT_TRUE(by_objects.is_full(limits));
    RestoreBatch by_blobs;
    by_blobs.add_object(0, file("a", std::vector<BlobId>(10, id_of(1)), 1000));
    EXPECT_TRUE(by_blobs.is_full(limits));
    RestoreBatch by_text;
    Node with_attribute = file("a", {}, 0);
    with_attribute.extended_attributes.push_back({"user.x", Bytes(1000, 'x')});
    by_text.add_object(0, with_attribute);
    EXPECT_TRUE(by_text.is_full(limits));
    RestoreBatch by_content;
    by_content.add_object(0, file("a", {id_of(1)}, 5000));
    EXPECT_TRUE(by_content.is_full(limits));
}

TEST(RestorePlan, OnlyNamesOfOneEntryPass) {
    for (const std::string& good : {std::string("a"), std::string("..."), std::string(".x"),
                                    std::string("\xff\n"), std::string(255, 'n')})
        EXPECT_EQ(problem_with_name(good), nullptr) << good;
    for (const std::string& bad :
         {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
          std::string("a\0b", 3), std::string(256, 'n')})
        EXPECT_NE(problem_with_name(bad), nullptr) << bad;
}

}  // namespace
}  // namespace backup
