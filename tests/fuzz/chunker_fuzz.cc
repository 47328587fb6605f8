// Chunker: lanes and growing buffers must find what the plain rule finds. The input is a recipe for
// a file, as cuts need half a megabyte: runs of one byte, pseudo-random stretches, pieces of the
// input, and windows that cut.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "daemon/repository/chunker.h"

using namespace backup;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint64_t kPolynomial = 0x3da3358b4dc173;
    constexpr std::size_t kMost = 3 << 20;
    Bytes file;
    std::uint64_t step = 1;
    ByteView rest(data, size);
    while (rest.size() >= 4 && file.size() < kMost) {
        const std::uint8_t what = rest[0];
        std::size_t length = (std::size_t{rest[1]} << 8 | rest[2]) << (what >> 4 & 7);
        const std::uint8_t byte = rest[3];
        rest = rest.subspan(4);
        length = std::min(length, kMost - file.size());
        switch (what & 3) {
            case 0:
                file.insert(file.end(), length, byte);
                break;
            case 1:
                for (std::uint64_t state = byte; length > 0; --length) {
                    state = state * 6364136223846793005u + 1442695040888963407u;
                    file.push_back(static_cast<std::uint8_t>(state >> 56));
                }
                break;
            case 2:
                append(file, rest.first(std::min(length, rest.size())));
                break;
            case 3:
                step = 1 + length;
                break;
        }
    }
    Chunker chunker(kPolynomial);
    std::size_t start = 0, known = std::min(step, file.size());
    while (start < file.size()) {
        const std::size_t expected = reference_cut(ByteView(file).subspan(start), kPolynomial);
        std::size_t length = 0;
        for (;;) {
            length = chunker.next_cut(ByteView(file).subspan(start, known - start),
                                      known == file.size());
            if (length != 0) break;
            known = std::min(file.size(), known + std::max<std::size_t>(step, file.size() / 64));
        }
        if (length != expected) {
            std::fprintf(stderr, "cut at %zu + %zu, not %zu\n", start, length, expected);
            std::abort();
        }
        start += length;
    }
    return 0;
}
