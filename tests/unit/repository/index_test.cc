#include "daemon/repository/index.h"

#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "daemon/repository/crypto.h"

namespace backup {
namespace {

BlobHandle blob(std::uint64_t number, BlobType type = BlobType::data) {
    return {type, BlobId{sha256({reinterpret_cast<const std::uint8_t*>(&number), sizeof number})}};
}
PackId pack(std::uint64_t number) {
    return retag<struct PackTag>(blob(number + 1'000'000'000).id);
}

TEST(BlobIndex, FindsWhatWasAddedAndNothingElse) {
    BlobIndex index;
    const PackNumber number = index.acquire_pack(pack(1));
    for (std::uint32_t i = 0; i < 20'000; ++i) index.add(blob(i), number, i * 100, 100, i);
    for (std::uint32_t i = 0; i < 20'000; ++i) {
        auto place = index.find(blob(i));
        ASSERT_TRUE(place);
        EXPECT_EQ(place->pack, pack(1));
        EXPECT_EQ(place->offset, i * 100);
        EXPECT_EQ(place->length, 100u);
        EXPECT_EQ(place->uncompressed_length, i);
        ASSERT_FALSE(index.contains(blob(i + 20'000)));
    }
    EXPECT_EQ(index.size(), 20'000u);
}

TEST(BlobIndex, TellsDataFromTreesOfTheSameId) {
    BlobIndex index;
    index.add(blob(1, BlobType::tree), index.acquire_pack(pack(1)), 0, 50, 0);
    EXPECT_FALSE(index.contains(blob(1, BlobType::data)));
    EXPECT_TRUE(index.contains(blob(1, BlobType::tree)));
}

TEST(BlobIndex, KeepsEveryCopyOnce) {
    BlobIndex index;
    const PackNumber first = index.acquire_pack(pack(1)), second = index.acquire_pack(pack(2));
    EXPECT_TRUE(index.add(blob(1), first, 0, 50, 0));
    EXPECT_TRUE(index.add(blob(1), second, 7, 50, 0));
    EXPECT_FALSE(index.add(blob(1), second, 7, 50, 0));
    EXPECT_EQ(index.find_all(blob(1)).size(), 2u);
    std::size_t visited = 0;
    index.each([&](const BlobHandle& handle, const BlobLocation&) {
        EXPECT_EQ(handle, blob(1));
        ++visited;
    });
    EXPECT_EQ(visited, 2u);
}

TEST(BlobIndex, ForgetsPacksOnlyWithTheirLastUser) {
    BlobIndex index;
    const PackNumber kept = index.acquire_pack(pack(1)), gone = index.acquire_pack(pack(2));
    EXPECT_EQ(index.acquire_pack(pack(2)), gone);
    for (std::uint32_t i = 0; i < 5'000; ++i) {
        index.add(blob(i), kept, i, 1, 0);
        index.add(blob(i + 5'000), gone, i, 1, 0);
    }
    index.release_packs({gone});
    EXPECT_TRUE(index.contains(blob(7'000)));
    index.release_packs({gone});
    for (std::uint32_t i = 0; i < 5'000; ++i) {
        ASSERT_TRUE(index.contains(blob(i)));
        ASSERT_FALSE(index.contains(blob(i + 5'000)));
    }
    EXPECT_EQ(index.pack_users(pack(2)), 0u);
    EXPECT_EQ(index.size(), 5'000u);
    // Its number goes to the next pack.
    EXPECT_EQ(index.acquire_pack(pack(3)), gone);
    index.add(blob(9'000), gone, 3, 4, 5);
    EXPECT_EQ(index.find(blob(9'000))->pack, pack(3));
}

TEST(BlobIndex, KeepsOnlyTheGivenBlobsOfAPack) {
    BlobIndex index;
    const PackNumber one = index.acquire_pack(pack(1)), two = index.acquire_pack(pack(2));
    index.add(blob(1), one, 0, 1, 0);
    index.add(blob(2), one, 1, 1, 0);
    index.add(blob(2), two, 0, 1, 0);
    index.keep_only({{one, {blob(1)}}});
    EXPECT_TRUE(index.contains(blob(1)));
    ASSERT_EQ(index.find_all(blob(2)).size(), 1u);
    EXPECT_EQ(index.find(blob(2))->pack, pack(2));
}

TEST(BlobIndex, GrantsAClaimToOneOfAllThreads) {
    BlobIndex index;
    const SessionNumber session = index.begin_session();
    constexpr std::uint64_t kBlobs = 2'000;
    std::atomic<std::uint64_t> granted{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&] {
                for (std::uint64_t n = 0; n < kBlobs; ++n)
                    if (index.claim(blob(n), session) == BlobIndex::Claim::granted) ++granted;
            });
        }
    }
    EXPECT_EQ(granted, kBlobs);
}

TEST(BlobIndex, HidesClaimsFromEverybodyElse) {
    BlobIndex index;
    const SessionNumber mine = index.begin_session(), other = index.begin_session();
    EXPECT_EQ(index.claim(blob(1), mine), BlobIndex::Claim::granted);
    EXPECT_EQ(index.claim(blob(1), mine), BlobIndex::Claim::claimed);
    EXPECT_TRUE(index.rely_on(blob(1), mine));
    EXPECT_FALSE(index.rely_on(blob(1), other));
    EXPECT_FALSE(index.contains(blob(1)));
    EXPECT_TRUE(index.find_all(blob(1)).empty());
    EXPECT_EQ(index.claim(blob(1), other), BlobIndex::Claim::granted);

    const PackNumber number = index.acquire_pack(pack(1));
    index.settle(blob(1), mine, number, 5, 6, 7);
    EXPECT_EQ(index.find(blob(1))->offset, 5u);
    EXPECT_TRUE(index.rely_on(blob(1), other));
    index.end_session(mine);
    index.end_session(other);
    EXPECT_TRUE(index.contains(blob(1)));
    EXPECT_EQ(index.size(), 1u);
}

TEST(BlobIndex, DropsClaimsWithTheirSession) {
    BlobIndex index;
    const SessionNumber session = index.begin_session();
    for (std::uint64_t i = 0; i < 1'000; ++i) index.claim(blob(i), session);
    index.end_session(session);
    EXPECT_EQ(index.size(), 0u);
    EXPECT_EQ(index.begin_session(), session);
    EXPECT_EQ(index.claim(blob(5), session), BlobIndex::Claim::granted);
}

TEST(BlobIndex, CountsLostBlobsThatASessionReliedOn) {
    BlobIndex index;
    const PackNumber one = index.acquire_pack(pack(1)), two = index.acquire_pack(pack(2)),
                     three = index.acquire_pack(pack(3));
    index.add(blob(1), one, 0, 1, 0);
    index.add(blob(2), one, 1, 1, 0);
    index.add(blob(2), two, 0, 1, 0);
    index.add(blob(3), three, 0, 1, 0);
    const SessionNumber session = index.begin_session();
    EXPECT_TRUE(index.rely_on(blob(1), session));
    EXPECT_TRUE(index.rely_on(blob(2), session));

    index.release_packs({three});  // nobody relied on it
    EXPECT_EQ(index.lost_count(), 0u);
    index.release_packs({one});  // blob 2 has another copy
    EXPECT_EQ(index.lost_count(), 1u);
    index.release_packs({two});  // and the promise moved there
    EXPECT_EQ(index.lost_count(), 2u);
}

TEST(BlobIndex, ForgetsReliancesOfFormerSessions) {
    BlobIndex index;
    const PackNumber number = index.acquire_pack(pack(1));
    index.add(blob(1), number, 0, 1, 0);
    SessionNumber session = index.begin_session();
    EXPECT_TRUE(index.rely_on(blob(1), session));
    index.end_session(session);
    session = index.begin_session();
    index.release_packs({number});
    EXPECT_EQ(index.lost_count(), 0u);
    index.end_session(session);
}

TEST(BlobIndex, TakesLessThan80BytesForABlob) {
    BlobIndex index;
    const PackNumber number = index.acquire_pack(pack(1));
    constexpr std::uint32_t kBlobs = 300'000;
    for (std::uint32_t i = 0; i < kBlobs; ++i) index.add(blob(i), number, i, 1, 0);
    EXPECT_LT(index.memory_bytes(), kBlobs * std::size_t{73});
}

}  // namespace
}  // namespace backup
