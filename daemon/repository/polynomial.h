// Polynomials over GF(2), as the chunker needs them: bit i is the coefficient of x^i.
// Pure functions but for random_polynomial(), which asks the kernel for randomness; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

inline constexpr int kPolynomialDegree = 53;

int polynomial_degree(std::uint64_t p);  // -1 for 0
std::uint64_t polynomial_mod(std::uint64_t value, std::uint64_t modulus);
std::uint64_t polynomial_gcd(std::uint64_t a, std::uint64_t b);
// a * b mod f; `f` of degree 63 at most, a and b smaller.
std::uint64_t polynomial_multiply_mod(std::uint64_t a, std::uint64_t b, std::uint64_t f);

// Ben-Or's test. Exact for every degree from 1 to 63.
bool is_irreducible(std::uint64_t f);
// Degree 53 and irreducible: anything else cuts badly, or breaks the tools that read the
// repository.
bool is_chunker_polynomial(std::uint64_t f);

// Hexadecimal without 0x, as in the config file; nothing for text that is no such number.
std::optional<std::uint64_t> parse_polynomial(std::string_view text);
std::string format_polynomial(std::uint64_t f);

// For a new repository: random, degree 53, irreducible. `io` when the kernel gives no randomness.
Result<std::uint64_t> random_polynomial();

}  // namespace backup
