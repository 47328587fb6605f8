#include "common/bytes.h"

#include <gtest/gtest.h>

#include "common/id.h"

namespace backup {

TEST(Bytes, HexIsLowerCaseAndStrict) {
    Bytes bytes{0x00, 0xab, 0xff};
    EXPECT_EQ(to_hex(bytes), "00abff");
    Bytes back(3);
    EXPECT_TRUE(from_hex("00abff", back));
    EXPECT_EQ(back, bytes);
    EXPECT_FALSE(from_hex("00ABFF", back));
    EXPECT_FALSE(from_hex("00abf", back));
    EXPECT_FALSE(from_hex("00abfg", back));
}

TEST(Bytes, Base64RoundTripsEveryLength) {
    for (std::size_t length = 0; length < 70; ++length) {
        Bytes bytes(length);
        for (std::size_t i = 0; i < length; ++i)
            bytes[i] = static_cast<std::uint8_t>(i * 37 + length);
        auto back = from_base64(to_base64(bytes));
        ASSERT_TRUE(back.has_value()) << length;
        EXPECT_EQ(*back, bytes);
    }
    EXPECT_EQ(to_base64(as_bytes("hello\n")), "aGVsbG8K");
    EXPECT_FALSE(from_base64("aGVsbG8").has_value());
    EXPECT_FALSE(from_base64("aG=sbG8K").has_value());
    EXPECT_FALSE(from_base64("aGVs*G8K").has_value());
}

TEST(Id, ComesFromExactly64LowerCaseDigits) {
    std::string hex(64, 'a');
    ASSERT_TRUE(BlobId::from_hex(hex).has_value());
    EXPECT_EQ(BlobId::from_hex(hex)->hex(), hex);
    EXPECT_FALSE(BlobId::from_hex(hex.substr(1)).has_value());
    EXPECT_FALSE(BlobId::from_hex(std::string(64, 'A')).has_value());
    EXPECT_TRUE(BlobId{}.is_null());
}

}  // namespace backup
