#include "daemon/repository/polynomial.h"

#include <bit>
#include <cerrno>

#include <sys/random.h>

namespace backup {

int polynomial_degree(std::uint64_t p) {
    return static_cast<int>(std::bit_width(p)) - 1;
}

std::uint64_t polynomial_mod(std::uint64_t value, std::uint64_t modulus) {
    if (modulus == 0) return value;
    const int degree = polynomial_degree(modulus);
    while (polynomial_degree(value) >= degree) {
        value ^= modulus << (polynomial_degree(value) - degree);
        if (value == 0) break;
    }
    return value;
}

std::uint64_t polynomial_gcd(std::uint64_t a, std::uint64_t b) {
    while (b != 0) {
        const std::uint64_t rest = polynomial_mod(a, b);
        a = b;
        b = rest;
    }
    return a;
}

std::uint64_t polynomial_multiply_mod(std::uint64_t a, std::uint64_t b, std::uint64_t f) {
    const int degree = polynomial_degree(f);
    if (degree <= 0) return 0;
    std::uint64_t product = 0;
    for (; b != 0; b >>= 1) {
        if (b & 1) product ^= a;
        a <<= 1;  // the degree of `a` is below 63: nothing is shifted out
        if (a >> degree & 1) a ^= f;
    }
    return product;
}

// f is reducible exactly if it has a factor of degree <= n/2, and x^(2^i) - x is the product of all
// irreducible polynomials whose degree divides i.
bool is_irreducible(std::uint64_t f) {
    const int degree = polynomial_degree(f);
    if (degree < 1 || degree > 63) return false;
    if (degree == 1) return true;
    std::uint64_t power = 2;  // x
    for (int i = 1; i <= degree / 2; ++i) {
        power = polynomial_multiply_mod(power, power, f);
        if (polynomial_gcd(f, power ^ 2) != 1) return false;
    }
    return true;
}

bool is_chunker_polynomial(std::uint64_t f) {
    return polynomial_degree(f) == kPolynomialDegree && is_irreducible(f);
}

std::optional<std::uint64_t> parse_polynomial(std::string_view text) {
    if (text.empty()) return std::nullopt;
    std::uint64_t value = 0;
    for (char digit : text) {
        unsigned nibble = 0;
        if (digit >= '0' && digit <= '9') {
            nibble = static_cast<unsigned>(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            nibble = static_cast<unsigned>(digit - 'a' + 10);
        } else if (digit >= 'A' && digit <= 'F') {
            nibble = static_cast<unsigned>(digit - 'A' + 10);
        } else {
            return std::nullopt;
        }
        if (value >> 60 != 0) return std::nullopt;
        value = value << 4 | nibble;
    }
    return value;
}

std::string format_polynomial(std::uint64_t f) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    do {
        text.insert(text.begin(), kDigits[f & 15]);
        f >>= 4;
    } while (f != 0);
    return text;
}

Result<std::uint64_t> random_polynomial() {
    for (;;) {
        std::uint64_t bits = 0;
        const ssize_t got = ::getrandom(&bits, sizeof bits, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(errno, "draw a random polynomial");
        if (got != static_cast<ssize_t>(sizeof bits)) continue;
        constexpr std::uint64_t kTop = std::uint64_t{1} << kPolynomialDegree;
        const std::uint64_t candidate = (bits & (2 * kTop - 1)) | kTop | 1;
        if (is_irreducible(candidate)) return candidate;  // one of about 27 is
    }
}

}  // namespace backup
