// The index in memory: 1.5 million blobs added and looked up (present and absent), in processor
// time, and what they take.
#include <cstdio>
#include <cstring>

#include <sys/resource.h>
#include <time.h>

#include "daemon/repository/index.h"

namespace {

using namespace backup;

BlobId id(std::uint64_t number) {
    BlobId made;
    for (std::size_t i = 0; i < 4; ++i) {
        std::uint64_t word = (number * 4 + i + 1) * 0x9e3779b97f4a7c15;
        word = (word ^ (word >> 32)) * 0xd6e8feb86659fd93;
        word ^= word >> 32;
        std::memcpy(made.bytes.data() + 8 * i, &word, 8);
    }
    return made;
}

double used() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

int main() {
    constexpr std::uint32_t kBlobs = 1'500'000;
    BlobIndex index;
    PackId pack{};
    double begin = used();
    PackNumber number = 0;
    for (std::uint32_t i = 0; i < kBlobs; ++i) {
        if (i % 1000 == 0) {
            std::memcpy(pack.bytes.data(), &i, sizeof i);
            number = index.acquire_pack(pack);
        }
        index.add({BlobType::data, id(i)}, number, i % 1000 * 4096, 4096, 8000);
    }
    std::printf("add      %.2f s\n", used() - begin);
    begin = used();
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < kBlobs; ++i)
        found += index.contains({BlobType::data, id(i * 7919 % kBlobs)}) ? 1 : 0;
    std::printf("present  %.2f s (%llu)\n", used() - begin, static_cast<unsigned long long>(found));
    begin = used();
    found = 0;
    for (std::uint64_t i = 0; i < kBlobs; ++i)
        found += index.contains({BlobType::data, id(i + kBlobs)}) ? 1 : 0;
    std::printf("absent   %.2f s (%llu)\n", used() - begin, static_cast<unsigned long long>(found));
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("tables   %.1f MB, peak of the process %.1f MB\n",
                static_cast<double>(index.memory_bytes()) * 1e-6,
                static_cast<double>(usage.ru_maxrss) * 1.024e-3);
}
