#include "daemon/repository/blob_codec.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "daemon/repository/crypto.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

struct CheckedBlobs : testing::TestWithParam<std::size_t> {
    CheckedBlobs() : plain(vectors::lcg(7, GetParam() / 2)) {
        plain.resize(GetParam(), 0);  // half noise
        handle = {BlobType::data, blob_id(plain)};
        PlaintextSum sum;
        sum.update(plain);
        auto encoded = encode_blob(key, handle, plain, sum.finish(), {});
        EXPECT_TRUE(encoded.ok());
        sealed.assign(encoded->sealed.begin(), encoded->sealed.end());
        length = encoded->uncompressed_length;
        EXPECT_EQ(length, plain.size());
    }
    Error refused(ByteView bytes, std::uint32_t claimed) {
        auto checked = check_blob(key, handle, bytes, claimed);
        EXPECT_FALSE(checked.ok()) << claimed;
        return checked.ok() ? Error(ErrorKind::io, "accepted") : checked.error();
    }

    MasterKey key = MasterKey::generate();
    Bytes plain, sealed;
    BlobHandle handle;
    std::uint32_t length = 0;
};

TEST_P(CheckedBlobs, AreGoodWhenTheyAre) {
    EXPECT_TRUE(check_blob(key, handle, sealed, length).ok());
}

TEST_P(CheckedBlobs, ComeOutTheSameWhenDecryptedInPlace) {
    Bytes out;
    for (std::uint32_t lead : {0U, 777U}) {
        Bytes copy = sealed;
        ASSERT_TRUE(decode_blob_in_place(key, handle, copy, length, out, lead).ok());
        EXPECT_TRUE(std::ranges::equal(ByteView(out).subspan(lead), plain));
    }
    Bytes copy = sealed;
    copy[copy.size() / 2] ^= 1;
    EXPECT_EQ(decode_blob_in_place(key, handle, copy, length, out).error().kind(),
              ErrorKind::corrupt);
    EXPECT_EQ(decode_blob_in_place(key, handle, MutableByteView(copy).first(31), length, out)
                  .error()
                  .kind(),
              ErrorKind::corrupt);
    BlobHandle other = handle;
    other.id.bytes[3] ^= 1;
    copy = sealed;
    EXPECT_EQ(decode_blob_in_place(key, other, copy, length, out).error().kind(),
              ErrorKind::corrupt);
}

TEST_P(CheckedBlobs, AreRefusedWithAnotherLength) {
    for (std::uint32_t claimed : {length - 1, length + 1, length / 2, length * 2, ~0U})
        EXPECT_EQ(refused(sealed, claimed).kind(), ErrorKind::corrupt);
}

TEST_P(CheckedBlobs, AreRefusedWithAnotherId) {
    handle.id.bytes[3] ^= 1;
    EXPECT_EQ(refused(sealed, length).kind(), ErrorKind::corrupt);
}

TEST_P(CheckedBlobs, AreRefusedWhenDamagedOrCutShort) {
    EXPECT_EQ(refused(ByteView(sealed).first(sealed.size() - 1), length).kind(),
              ErrorKind::corrupt);
    EXPECT_EQ(refused(ByteView(sealed).first(31), length).kind(), ErrorKind::corrupt);
    sealed[sealed.size() / 2] ^= 1;
    EXPECT_EQ(refused(sealed, length).kind(), ErrorKind::corrupt);
}

// Whole and in pieces.
INSTANTIATE_TEST_SUITE_P(Sizes, CheckedBlobs, testing::Values(100'000, (12 << 20) + 5));

}  // namespace
}  // namespace backup
