#include "daemon/archive/change_signs.h"

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(ChangeSigns, ADirectoryThatWasMovedIsNoRemoval) {
    std::vector<FileMark> gone, came;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        gone.push_back(file_mark(i, "f" + std::to_string(i)));
        came.push_back(file_mark(i, "f" + std::to_string(i)));
    }
    MatchedMarks matched = match_marks(gone, came);
    EXPECT_EQ(matched.moved, 1000u);
    EXPECT_EQ(matched.renamed, 0u);
}

TEST(ChangeSigns, OtherNamesOfTheSameFilesAreRenames) {
    std::vector<FileMark> gone, came;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        gone.push_back(file_mark(i, "f" + std::to_string(i)));
        came.push_back(file_mark(i, "f" + std::to_string(i) + ".locked"));
    }
    MatchedMarks matched = match_marks(gone, came);
    EXPECT_EQ(matched.moved, 0u);
    EXPECT_EQ(matched.renamed, 1000u);
}

TEST(ChangeSigns, CopiesElsewhereAreMovedByName) {
    std::vector<FileMark> gone{file_mark(1, "a"), file_mark(2, "b"), file_mark(3, "c")};
    std::vector<FileMark> came{file_mark(11, "a"), file_mark(12, "b"), file_mark(13, "x")};
    EXPECT_EQ(match_marks(gone, came).moved, 2u);
    EXPECT_EQ(match_marks(gone, {}).moved, 0u);
    EXPECT_EQ(match_marks({}, came).moved, 0u);
}

TEST(ChangeSigns, EachIsPairedOnce) {
    std::vector<FileMark> gone{file_mark(1, "a")};
    std::vector<FileMark> came{file_mark(1, "b"), file_mark(1, "a"), file_mark(2, "a")};
    MatchedMarks matched = match_marks(gone, came);
    EXPECT_EQ(matched.moved + matched.renamed, 1u);
}

TEST(ChangeSigns, TextureIsOfWhatCannotBeCompressed) {
    const Bytes text(100, 'a');
    const Bytes jpeg{0xff, 0xd8, 0xff, 0xe0};
    EXPECT_EQ(texture_of(100'000, 40'000, text), Texture::orderly);
    EXPECT_EQ(texture_of(100'000, 100'032, text), Texture::opaque);
    EXPECT_EQ(texture_of(100'000, 100'032, jpeg), Texture::orderly);
    EXPECT_EQ(texture_of(100, 132, text), Texture::unknown);
    EXPECT_EQ(texture_of(100'000, 0, text), Texture::unknown);
}

TEST(ChangeSigns, OnlyContentThatCouldBeCompressedCanTurn) {
    ChangeWitness witness;
    witness.note_read(1, "a", true, false, true, Texture::opaque);
    witness.note_read(2, "b", true, false, false, Texture::opaque);
    witness.note_read(3, "c", true, true, true, Texture::opaque);
    witness.note_read(4, "d", true, false, true, Texture::orderly);
    witness.note_read(5, "e", false, false, false, Texture::opaque);
    ChangeWitness all;
    all.merge(witness);
    EXPECT_EQ(all.signs().rewritten, 3u);
    EXPECT_EQ(all.signs().could_turn, 2u);
    EXPECT_EQ(all.signs().turned, 1u);
    EXPECT_EQ(all.signs().files_new, 1u);
    EXPECT_EQ(all.signs().new_opaque, 1u);
    EXPECT_EQ(all.take_came().size(), 1u);
}

}  // namespace
}  // namespace backup
