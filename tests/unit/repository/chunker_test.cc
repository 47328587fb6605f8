#include "daemon/repository/chunker.h"

#include <random>

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include "daemon/repository/polynomial.h"
#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

constexpr std::uint64_t kPolynomial = 0x3da3358b4dc173;

std::string sha256(ByteView bytes) {
    std::array<std::uint8_t, 32> hash{};
    SHA256(bytes.data(), bytes.size(), hash.data());
    return to_hex(hash);
}

Bytes input_named(const std::string& name) {
    if (name == "ff-20MiB.bin") return Bytes(20971520, 0xff);
    if (name == "zeros-20MiB.bin") return Bytes(20971520, 0);
    if (name == "lcg1-20MiB.bin") return vectors::lcg(1, 20971520);
    if (name == "lcg2-100KiB.bin") return vectors::lcg(2, 102400);
    if (name == "lcg3-512KiB+1.bin") return vectors::lcg(3, 524289);
    if (name == "lcg3-512KiB-1.bin") return vectors::lcg(3, 524287);
    if (name == "lcg3-512KiB.bin") return vectors::lcg(3, 524288);
    Bytes mix = vectors::lcg(7, 1048576);
    append(mix, Bytes(3145728, 0));
    append(mix, vectors::lcg(8, 1048576));
    append(mix, Bytes(3145728, 0x41));
    append(mix, vectors::lcg(7, 1048576));
    return mix;
}

// Cuts `data` as a reader does whose buffer grows by at most `step(…)` bytes at a time.
template <typename Step>
std::vector<std::size_t> cut(ByteView data, std::uint64_t polynomial, Step step) {
    Chunker chunker(polynomial);
    std::vector<std::size_t> lengths;
    std::size_t start = 0, known = 0;
    for (;;) {
        const bool at_end = known == data.size();
        const std::size_t length = chunker.next_cut(data.subspan(start, known - start), at_end);
        if (length != 0) {
            lengths.push_back(length);
            start += length;
        } else if (at_end) {
            return lengths;
        } else {
            known = std::min(data.size(), known + std::max<std::size_t>(1, step()));
        }
    }
}

std::vector<std::size_t> cut_plainly(ByteView data, std::uint64_t polynomial) {
    std::vector<std::size_t> lengths;
    while (!data.empty()) {
        lengths.push_back(reference_cut(data, polynomial));
        data = data.subspan(lengths.back());
    }
    return lengths;
}

TEST(Chunker, TablesAreThoseOfTheVectors) {
    const auto vector = vectors::load("chunker-vectors.json");
    const auto tables = chunker_tables(kPolynomial);
    const auto hash = [](const std::array<std::uint64_t, 256>& table) {
        return sha256({reinterpret_cast<const std::uint8_t*>(table.data()), sizeof table});
    };
    EXPECT_EQ(hash(tables->mod), vector["tables"]["mod_sha256_le64"]);
    // Ours are one byte further on: they are taken out after the new byte went in.
    const auto further = [](std::uint64_t out) {
        return polynomial_multiply_mod(out, 0x100, kPolynomial);
    };
    for (const auto& [byte, out] : vector["tables"]["out"].items()) {
        EXPECT_EQ(tables->out[std::stoul(byte)],
                  further(*parse_polynomial(out.get<std::string>())));
    }
    EXPECT_EQ(chunker_tables(kPolynomial), tables) << "made once";
}

class ChunkerVector : public testing::TestWithParam<std::size_t> {};

TEST_P(ChunkerVector, IsCutAsResticCutsIt) {
    const auto vector = vectors::load("chunker-vectors.json")["inputs"][GetParam()];
    const Bytes data = input_named(vector["name"]);
    ASSERT_EQ(sha256(data), vector["sha256"]) << "the generator is wrong";
    const auto lengths = cut(data, kPolynomial, [] { return kMaxChunk; });
    EXPECT_EQ(lengths, vector["lengths"].get<std::vector<std::size_t>>());
    EXPECT_EQ(cut_plainly(data, kPolynomial), lengths);
    std::size_t start = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        EXPECT_EQ(sha256(ByteView(data).subspan(start, lengths[i])), vector["ids"][i]);
        start += lengths[i];
    }
}
INSTANTIATE_TEST_SUITE_P(All, ChunkerVector, testing::Range<std::size_t>(0, 8));

TEST(Chunker, BufferBordersHaveNoInfluence) {
    const Bytes data = input_named("mix-9MiB.bin");
    const auto whole = cut_plainly(data, kPolynomial);
    std::minstd_rand random(1);
    for (std::size_t most : {3000u, 70000u, 600000u, 3000000u}) {
        EXPECT_EQ(cut(data, kPolynomial, [&] { return random() % most; }), whole) << most;
    }
    // One byte at a time across every border that means something.
    const Bytes small = vectors::lcg(5, kMinChunk + 70000);
    std::size_t known = kMinChunk - 70;
    bool first = true;
    const auto lengths = cut(small, kPolynomial,
                             [&] { return std::exchange(first, false) ? known : std::size_t{1}; });
    EXPECT_EQ(lengths, cut_plainly(small, kPolynomial));
}

TEST(Chunker, LanesFindWhatThePlainRuleFinds) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 12; ++round) {
        const std::uint64_t polynomial = random_polynomial().value();
        // Data of few different bytes, runs and repeated pieces: cuts come early, late, and twice
        // in one block.
        Bytes data = vectors::lcg(random(), kMinChunk + random() % (3 << 20));
        for (int run = 0; run < 20; ++run) {
            const std::size_t at = random() % data.size();
            const std::size_t size = std::min<std::size_t>(random() % 40000, data.size() - at);
            std::fill_n(data.begin() + static_cast<std::ptrdiff_t>(at), size,
                        static_cast<std::uint8_t>(random()));
        }
        EXPECT_EQ(cut(data, polynomial, [] { return kMaxChunk; }), cut_plainly(data, polynomial))
            << format_polynomial(polynomial);
    }
}

TEST(Chunker, EveryPositionBehindTheMinimumCanBeTheCut) {
    // A window that hits is put at chosen distances: below, at and above every border of blocks and
    // lanes.
    const Bytes base = vectors::lcg(1, 1016575);
    const Bytes window(base.end() - 64,
                       base.end());  // the first cut of the vector lies behind these
    for (std::size_t cut_at :
         {kMinChunk, kMinChunk + 1, kMinChunk + 63, kMinChunk + 64, kMinChunk + 511,
          kMinChunk + 4096, kMinChunk + 7999, kMinChunk + 8000, kMinChunk + 8001, kMinChunk + 63998,
          kMinChunk + 63999, kMinChunk + 64000, kMinChunk + 64001, kMinChunk + 100000}) {
        Bytes data(cut_at + 200000, 0xff);  // runs of ff never cut with this polynomial
        std::copy(window.begin(), window.end(),
                  data.begin() + static_cast<std::ptrdiff_t>(cut_at - 64));
        Chunker chunker(kPolynomial);
        EXPECT_EQ(chunker.next_cut(data, true), cut_at);
        // A second one behind it, in a later lane of the same block, must not win.
        std::copy(window.begin(), window.end(),
                  data.begin() + static_cast<std::ptrdiff_t>(cut_at + 9000));
        EXPECT_EQ(chunker.next_cut(data, true), cut_at);
    }
    Bytes too_early(kMaxChunk, 0xff);
    std::copy(window.begin(), window.end(), too_early.begin() + kMinChunk - 65);
    EXPECT_EQ(Chunker(kPolynomial).next_cut(too_early, false), kMaxChunk);
}

TEST(Chunker, AsksForMoreUntilTheEndIsKnown) {
    Chunker chunker(kPolynomial);
    const Bytes data(kMaxChunk, 0xff);
    EXPECT_EQ(chunker.next_cut({}, false), 0u);
    EXPECT_EQ(chunker.next_cut(ByteView(data).first(10), false), 0u);
    EXPECT_EQ(chunker.next_cut(ByteView(data).first(kMaxChunk - 1), false), 0u);
    EXPECT_EQ(chunker.next_cut(data, false), kMaxChunk);
    EXPECT_EQ(chunker.next_cut({}, true), 0u) << "nothing is left";
    EXPECT_EQ(chunker.next_cut(ByteView(data).first(1), true), 1u);
}

TEST(Chunker, ResetForgetsTheChunkBegun) {
    const Bytes zeros(kMinChunk, 0);
    const Bytes ones(kMaxChunk, 0xff);
    Chunker chunker(kPolynomial);
    EXPECT_EQ(chunker.next_cut(ByteView(ones).first(kMaxChunk - 1), false), 0u);
    chunker.reset();
    EXPECT_EQ(chunker.next_cut(zeros, false), kMinChunk);
}

TEST(Chunker, ZerosAreCutAtTheMinimumWithAnyPolynomial) {
    const Bytes zeros(2 * kMinChunk, 0);
    for (int round = 0; round < 3; ++round) {
        EXPECT_EQ(Chunker(random_polynomial().value()).next_cut(zeros, false), kZeroChunkLength);
    }
    EXPECT_EQ(zero_chunk_id().hex(), sha256(ByteView(zeros).first(kZeroChunkLength)));
}

}  // namespace
}  // namespace backup
