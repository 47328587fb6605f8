// A million marks: what they cost in memory.
#include <gtest/gtest.h>
#include <malloc.h>

#include "daemon/queue/change_queue.h"

namespace backup {

namespace {

constexpr std::size_t kMillion = 1'000'000;

std::size_t heap_in_use() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

// As ext4 has them: a type, an inode and a generation.
ObjectHandle handle(std::size_t number) {
    ObjectHandle handle = "h\x01";
    for (int shift = 0; shift < 32; shift += 8) handle += static_cast<char>(number >> shift);
    return handle + "gene";
}

void mark(ChangeQueue& queue, std::size_t directories, const std::string& name) {
    constexpr std::size_t kBatch = 5000;
    for (std::size_t i = 0; i < kMillion;) {
        WatchBatch batch;
        for (std::size_t end = std::min(i + kBatch, kMillion); i < end; ++i)
            batch.names.push_back({handle(i % directories), name + std::to_string(i), true});
        queue.absorb("a volume", batch, Timestamp(std::chrono::seconds(i)));
        queue.take_records();
    }
    ASSERT_EQ(queue.size(), kMillion);
}

void expect_small(std::size_t directories, const std::string& name) {
    std::size_t before = heap_in_use();
    ChangeQueue queue;
    mark(queue, directories, name);
    std::size_t used = heap_in_use() - before;
    // Other allocators (under the sanitizers) do not tell.
    if (before != 0) {
        EXPECT_LT(used / kMillion, 200u);
        EXPECT_NEAR(static_cast<double>(queue.memory_bytes()) / static_cast<double>(used), 1, 0.25);
        testing::Test::RecordProperty("bytes_per_mark", static_cast<int>(used / kMillion));
        std::printf("%zu directories: %zu bytes for each mark\n", directories, used / kMillion);
    }
    EXPECT_LT(queue.memory_bytes() / kMillion, 200u);
    queue.clear(queue.freeze());
    EXPECT_TRUE(queue.empty());
    EXPECT_LT(queue.memory_bytes(), kMillion * 100);
}

}  // namespace

TEST(QueueMemory, AMillionNamesInTwoThousandDirectoriesTakeLessThan200BytesEach) {
    expect_small(2000, "a name of some length ");
}

TEST(QueueMemory, AMillionNamesEachInADirectoryOfItsOwnTakeLessThan200BytesEach) {
    expect_small(kMillion, "name ");
}

}  // namespace backup
