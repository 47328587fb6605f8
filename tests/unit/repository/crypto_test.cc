#include "daemon/repository/crypto.h"

#include <algorithm>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/repository/blob.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

Bytes unhex(const std::string& text) {
    Bytes bytes(text.size() / 2);
    EXPECT_TRUE(from_hex(text, bytes));
    return bytes;
}

MasterKey vector_key(const nlohmann::json& vectors, const char* r_name) {
    Bytes key = unhex(vectors["encrypt_hex"]);
    append(key, unhex(vectors["mac_k_hex"]));
    append(key, unhex(vectors[r_name]));
    return MasterKey::from_bytes(key).value();
}

TEST(Crypto, SealsAndOpensTheVectors) {
    auto json = vectors::load("crypto-vectors.json");
    for (const char* r_name : {"mac_r_hex", "mac_r_clamped_hex"}) {
        MasterKey key = vector_key(json, r_name);
        ASSERT_GE(json["cases"].size(), 7u);
        for (const auto& item : json["cases"]) {
            Bytes plain = unhex(item["plaintext_hex"]), sealed = unhex(item["sealed_hex"]);
            Bytes buffer(plain.size() + kSealOverhead);
            std::copy(plain.begin(), plain.end(), buffer.begin() + kIvBytes);
            key.seal_with_iv_for_test(buffer, unhex(item["iv_hex"]));
            EXPECT_EQ(to_hex(buffer), to_hex(sealed));
            auto opened = key.unseal(sealed);
            ASSERT_TRUE(opened.ok());
            EXPECT_EQ(to_hex(opened.value()), to_hex(plain));
        }
    }
}

TEST(Crypto, EveryWayOfSealingCanBeOpenedInEveryWay) {
    MasterKey key = MasterKey::generate();
    for (std::size_t size : {0u, 1u, 15u, 16u, 17u, 4096u, 1'000'003u}) {
        Bytes plain = vectors::lcg(size, size);
        Bytes appended = to_bytes("before");
        key.seal_into(appended, plain);
        ASSERT_EQ(as_text(appended).substr(0, 6), "before");
        Bytes in_place(size + kSealOverhead);
        std::copy(plain.begin(), plain.end(), in_place.begin() + kIvBytes);
        key.seal_in_place(in_place);
        for (ByteView sealed : {ByteView(appended).subspan(6), ByteView(in_place)}) {
            ASSERT_EQ(sealed.size(), size + kSealOverhead);
            EXPECT_TRUE(key.unseal(sealed).value() == plain);
            Bytes out(size);
            ASSERT_TRUE(key.unseal_into(out, sealed).ok());
            EXPECT_TRUE(out == plain);
            for (std::size_t piece : {1u, 16u, 100'000u}) {
                if (size > 5000 && piece < 1000) continue;
                Bytes room(piece), pieced;
                ASSERT_TRUE(
                    key.unseal_pieces(sealed, room, [&](ByteView part) { append(pieced, part); })
                        .ok());
                EXPECT_TRUE(pieced == plain) << size << " in pieces of " << piece;
            }
            Bytes copy = to_bytes(sealed);
            auto view = key.unseal_in_place(copy);
            ASSERT_TRUE(view.ok());
            EXPECT_TRUE(std::equal(view->begin(), view->end(), plain.begin(), plain.end()));
        }
    }
}

TEST(Crypto, AnyFlippedBitIsFound) {
    MasterKey key = MasterKey::generate();
    Bytes sealed = key.seal(as_bytes("some text"));
    for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
        Bytes damaged = sealed;
        damaged[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        auto opened = key.unseal(damaged);
        ASSERT_FALSE(opened.ok()) << bit;
        EXPECT_EQ(opened.error().kind(), ErrorKind::corrupt);
    }
}

TEST(Crypto, DamagedDataIsLeftAsItIs) {
    MasterKey key = MasterKey::generate();
    Bytes sealed = key.seal(as_bytes("some text"));
    sealed.back() ^= 1;
    Bytes before = sealed;
    EXPECT_FALSE(key.unseal_in_place(sealed).ok());
    EXPECT_TRUE(sealed == before) << "nothing is decrypted before the MAC is right";
}

TEST(Crypto, ShortDataAnotherKeyAndAZeroIvAreRejected) {
    MasterKey key = MasterKey::generate();
    Bytes sealed = key.seal({});
    EXPECT_TRUE(key.unseal(sealed).ok());
    for (std::size_t size = 0; size < kSealOverhead; ++size)
        EXPECT_FALSE(key.unseal(ByteView(sealed).first(size)).ok());
    EXPECT_FALSE(MasterKey::generate().unseal(sealed).ok());
    Bytes zero_iv(kSealOverhead);
    key.seal_with_iv_for_test(zero_iv, Bytes(16, std::uint8_t{0}));
    EXPECT_FALSE(key.unseal(zero_iv).ok());
}

TEST(Crypto, KeysOfWrongLengthOrAllZeroAreRejected) {
    Bytes key(kKeyBytes, std::uint8_t{1});
    EXPECT_TRUE(MasterKey::from_bytes(key).ok());
    EXPECT_FALSE(MasterKey::from_bytes(ByteView(key).first(63)).ok());
    Bytes longer(kKeyBytes + 1, std::uint8_t{1});
    EXPECT_FALSE(MasterKey::from_bytes(longer).ok());
    for (auto [begin, length] : {std::pair{0, 32}, {32, 16}, {48, 16}}) {
        Bytes zero = key;
        std::fill_n(zero.begin() + begin, length, std::uint8_t{0});
        EXPECT_FALSE(MasterKey::from_bytes(zero).ok()) << begin;
    }
}

TEST(Crypto, RIsClamped) {
    Bytes key(kKeyBytes, std::uint8_t{0xff});
    EXPECT_EQ(to_hex(MasterKey::from_bytes(key).value().mac_r_part()),
              "ffffff0ffcffff0ffcffff0ffcffff0f");
    MasterKey made = MasterKey::generate();
    EXPECT_TRUE(MasterKey::from_bytes([&] {
                    Bytes parts = to_bytes(made.encrypt_part());
                    append(parts, made.mac_k_part());
                    append(parts, made.mac_r_part());
                    return parts;
                }())
                    .value()
                    .unseal(made.seal(as_bytes("x")))
                    .ok());
}

TEST(Crypto, NoIvRepeatsInAMillionSeals) {
    MasterKey key = MasterKey::generate();
    std::vector<std::array<std::uint8_t, kIvBytes>> ivs(1'000'000);
    Bytes buffer(kSealOverhead + 1);
    for (auto& iv : ivs) {
        buffer[kIvBytes] = 'x';
        key.seal_in_place(buffer);
        std::copy_n(buffer.begin(), kIvBytes, iv.begin());
    }
    std::sort(ivs.begin(), ivs.end());
    EXPECT_EQ(std::adjacent_find(ivs.begin(), ivs.end()), ivs.end());
}

TEST(Crypto, SealingTwiceDiffers) {
    MasterKey key = MasterKey::generate();
    EXPECT_NE(to_hex(key.seal(as_bytes("same"))), to_hex(key.seal(as_bytes("same"))));
}

TEST(Crypto, ManyThreadsShareSeveralKeys) {
    MasterKey first = MasterKey::generate(), second = MasterKey::generate();
    std::atomic<int> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (unsigned worker = 0; worker < 4; ++worker)
            threads.emplace_back([&, worker] {
                for (unsigned i = 0; i < 500; ++i) {
                    // In turns: the contexts of the thread must follow the key.
                    const MasterKey& key = i % 2 == 0 ? first : second;
                    const MasterKey& other = i % 2 == 0 ? second : first;
                    Bytes plain = vectors::lcg(worker * 1000 + i, i);
                    Bytes sealed = key.seal(plain);
                    auto opened = key.unseal(sealed);
                    if (!opened.ok() || opened.value() != plain || other.unseal(sealed).ok())
                        ++wrong;
                }
            });
    }
    EXPECT_EQ(wrong, 0);
}

TEST(Crypto, AMovedKeyStillSeals) {
    MasterKey first = MasterKey::generate();
    Bytes sealed = first.seal(as_bytes("text"));
    MasterKey second = std::move(first);
    MasterKey third = MasterKey::generate();
    third = std::move(second);
    EXPECT_EQ(as_text(third.unseal(sealed).value()), "text");
}

TEST(Crypto, Sha256MatchesKnownDigestsWholeAndInPieces) {
    EXPECT_EQ(to_hex(sha256({})),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Sha256 hasher;
    for (int round = 0; round < 2; ++round) {
        hasher.update(as_bytes("a"));
        hasher.update(as_bytes("bc"));
        EXPECT_EQ(hasher.finish(), sha256(as_bytes("abc"))) << "it starts anew after finish";
    }
    Bytes zeros(512 * 1024, std::uint8_t{0});
    EXPECT_EQ(blob_id(zeros).hex(),
              "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541");
}

}  // namespace
}  // namespace backup
