#include "daemon/repository/polynomial.h"

#include <gtest/gtest.h>

#include "tests/unit/repository/vectors.h"

namespace backup {
namespace {

TEST(Polynomial, VectorsAreJudgedRightly) {
    const auto vectors = vectors::load("chunker-vectors.json");
    for (const auto& text : vectors["irreducible"]) {
        EXPECT_TRUE(is_chunker_polynomial(*parse_polynomial(text.get<std::string>()))) << text;
    }
    for (const auto& text : vectors["reducible"]) {
        EXPECT_FALSE(is_irreducible(*parse_polynomial(text.get<std::string>()))) << text;
    }
}

TEST(Polynomial, IrreducibilityAgreesWithTrialDivisionForEverySmallPolynomial) {
    for (std::uint64_t f = 2; f < 4096; ++f) {
        bool irreducible = true;
        for (std::uint64_t factor = 2; irreducible && factor < f; ++factor) {
            if (2 * polynomial_degree(factor) > polynomial_degree(f)) break;
            irreducible = polynomial_mod(f, factor) != 0;
        }
        EXPECT_EQ(is_irreducible(f), irreducible) << f;
    }
}

TEST(Polynomial, ConstantsAreNotIrreducible) {
    EXPECT_FALSE(is_irreducible(0));
    EXPECT_FALSE(is_irreducible(1));
}

TEST(Polynomial, ProductIsReducible) {
    // Two irreducible factors of degree 26 and 27 are beyond what small cases reach.
    std::uint64_t a = (1u << 26) | 1;
    while (!is_irreducible(a)) a += 2;
    std::uint64_t b = (1u << 27) | 1;
    while (!is_irreducible(b)) b += 2;
    std::uint64_t product = 0;
    for (int bit = 0; bit <= 27; ++bit) {
        if (b >> bit & 1) product ^= a << bit;
    }
    EXPECT_EQ(polynomial_degree(product), 53);
    EXPECT_EQ(polynomial_mod(product, a), 0u);
    EXPECT_EQ(polynomial_gcd(product, b), b);
    EXPECT_FALSE(is_irreducible(product));
}

TEST(Polynomial, OtherDegreesAreNoChunkerPolynomials) {
    EXPECT_FALSE(is_chunker_polynomial(0x11b));  // irreducible, degree 8
    EXPECT_TRUE(is_irreducible(0x11b));
}

TEST(Polynomial, RandomOnesAreUsableAndDiffer) {
    const auto first = random_polynomial();
    const auto second = random_polynomial();
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_TRUE(is_chunker_polynomial(*first));
    EXPECT_TRUE(is_chunker_polynomial(*second));
    EXPECT_NE(*first, *second);
    EXPECT_EQ(*first & 1, 1u);
}

TEST(Polynomial, TextRoundTripsAndRefusesWhatIsNoNumber) {
    EXPECT_EQ(format_polynomial(0x3da3358b4dc173), "3da3358b4dc173");
    EXPECT_EQ(format_polynomial(0), "0");
    EXPECT_EQ(parse_polynomial("3DA3358b4dc173"), 0x3da3358b4dc173u);
    EXPECT_EQ(parse_polynomial("0003da3358b4dc173"), 0x3da3358b4dc173u);
    EXPECT_EQ(parse_polynomial("ffffffffffffffff"), ~std::uint64_t{0});
    for (const char* text : {"", "0x11", "-1", " 1", "1g", "10000000000000000"}) {
        EXPECT_EQ(parse_polynomial(text), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace backup
