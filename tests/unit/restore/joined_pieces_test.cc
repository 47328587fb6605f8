#include "daemon/restore/joined_pieces.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "common/direct_io.h"

namespace backup {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

Piece piece_at(std::uint64_t file_offset, std::uint32_t object = 0) {
    Piece piece;
    piece.file_offset = file_offset;
    piece.object = object;
    return piece;
}

TEST(JoinedPieces, WhatFollowsEachOtherInAFileIsOneWriteAlignedLikeItsPlace) {
    JoinedPieces joined;
    const Bytes a(kMiB + 7, 'a'), b(kMiB, 'b');
    const Piece first = piece_at(12'345), second = piece_at(12'345 + a.size());
    ASSERT_TRUE(joined.take(first, a));
    ASSERT_TRUE(joined.take(second, b));

    Bytes both = a;
    append(both, b);
    EXPECT_TRUE(std::ranges::equal(joined.content(), both));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(joined.content().data()) % kDirectAlignment,
              12'345 % kDirectAlignment);
    EXPECT_EQ(joined.pieces(), (std::vector<const Piece*>{&first, &second}));
}

TEST(JoinedPieces, WhatBelongsElsewhereIsNotTakenAndNothingIsLostByAsking) {
    JoinedPieces joined;
    const Bytes a(1000, 'a'), b(10, 'b');
    const Piece first = piece_at(0), gap = piece_at(1001), before = piece_at(999),
                other = piece_at(1000, 1), next = piece_at(1000);
    ASSERT_TRUE(joined.take(first, a));
    EXPECT_FALSE(joined.take(gap, b));
    EXPECT_FALSE(joined.take(before, b));
    EXPECT_FALSE(joined.take(other, b));
    EXPECT_TRUE(std::ranges::equal(joined.content(), a));
    EXPECT_TRUE(joined.take(next, b));
    EXPECT_EQ(joined.content().size(), a.size() + b.size());
}

TEST(JoinedPieces, ThereIsAnEndToWhatIsHeld) {
    JoinedPieces joined;
    const Bytes longest(4 * kMiB, 'a'), too_long(4 * kMiB + 1, 'b'), one(1, 'c');
    const Piece first = piece_at(4095), second = piece_at(4095 + longest.size());
    EXPECT_FALSE(joined.take(first, too_long));
    ASSERT_TRUE(joined.take(first, longest));
    EXPECT_FALSE(joined.take(second, one));
    EXPECT_TRUE(std::ranges::equal(joined.content(), longest));

    joined.clear();
    EXPECT_TRUE(joined.pieces().empty());
    EXPECT_TRUE(joined.content().empty());
    ASSERT_TRUE(joined.take(second, one));
    EXPECT_TRUE(std::ranges::equal(joined.content(), one));
}

}  // namespace
}  // namespace backup
