// How fast files are cut. Prints GB of file per second of processor time and two ratios, because
// machines differ: chunker to memcpy of the same bytes, and lanes to the plain rule, which does one
// byte after the other.
//
//   bench_chunker [MiB]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <time.h>

#include "daemon/repository/chunker.h"

namespace {

using namespace backup;

constexpr std::uint64_t kPolynomial = 0x3da3358b4dc173;

double cpu_seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// Processor time, the best of five.
template <typename Work>
double seconds(Work work) {
    double best = 1e9;
    for (int round = 0; round < 5; ++round) {
        const double begin = cpu_seconds();
        work();
        best = std::min(best, cpu_seconds() - begin);
    }
    return best;
}

std::size_t cut_all(ByteView data) {
    Chunker chunker(kPolynomial);
    std::size_t chunks = 0;
    while (!data.empty()) {
        data = data.subspan(chunker.next_cut(data.first(std::min(data.size(), kMaxChunk)),
                                             data.size() <= kMaxChunk));
        ++chunks;
    }
    return chunks;
}

std::size_t cut_plainly(ByteView data) {
    std::size_t chunks = 0;
    for (; !data.empty(); ++chunks) data = data.subspan(reference_cut(data, kPolynomial));
    return chunks;
}

void measure(const char* name, const Bytes& data) {
    Bytes copy(data.size());
    std::size_t chunks = 0, plain_chunks = 0;
    const double copying = seconds([&] { std::memcpy(copy.data(), data.data(), data.size()); });
    const double lanes = seconds([&] { chunks = cut_all(data); });
    const double plain = seconds([&] { plain_chunks = cut_plainly(data); });
    std::printf("%-12s %6zu chunks  %6.2f GB/s   chunker/memcpy %5.2f   lanes/single %5.2f%s\n",
                name, chunks, static_cast<double>(data.size()) / lanes / 1e9, copying / lanes,
                plain / lanes, chunks == plain_chunks ? "" : "   THE CUTS DIFFER");
}

}  // namespace

int main(int count, char** arguments) {
    const std::size_t size = (count > 1 ? std::strtoul(arguments[1], nullptr, 10) : 256) << 20;
    Bytes random(size);
    std::uint64_t state = 1;
    for (auto& byte : random) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<std::uint8_t>(state >> 56);
    }
    measure("random", random);
    // Never cuts with this polynomial: seven eighths and more of each chunk are hashed.
    measure("no cuts", Bytes(size, 0xff));
}
