#include "tests/support/flaky_backend.h"

#include <gtest/gtest.h>

#include "daemon/backend/memory_backend.h"

namespace backup {
namespace {

Handle pack(std::uint8_t number) {
    Handle handle{FileType::pack, {}};
    handle.id.bytes[0] = number;
    return handle;
}

TEST(FlakyBackend, FailsOnceAtTheCallAskedFor) {
    MemoryBackend memory;
    FlakyBackend flaky(memory);
    flaky.fail_at(1, FlakyBackend::Fault::error);
    EXPECT_TRUE(flaky.put(pack(0), as_bytes("a")).ok());
    EXPECT_TRUE(flaky.get(pack(0)).ok()) << "reads are not counted";
    EXPECT_FALSE(flaky.put(pack(1), as_bytes("b")).ok());
    EXPECT_TRUE(flaky.put(pack(2), as_bytes("c")).ok());
    EXPECT_EQ(memory.files().size(), 2u);
    EXPECT_TRUE(flaky.has_failed());
}

TEST(FlakyBackend, ALostAnswerStillHasDoneTheWork) {
    MemoryBackend memory;
    FlakyBackend flaky(memory);
    flaky.fail_at(0, FlakyBackend::Fault::error_after);
    EXPECT_FALSE(flaky.put(pack(0), as_bytes("a")).ok());
    EXPECT_TRUE(memory.get(pack(0)).ok());
}

TEST(FlakyBackend, AfterPowerLossNothingWorksUntilHealed) {
    MemoryBackend memory;
    FlakyBackend flaky(memory, &memory);
    ASSERT_TRUE(flaky.put(pack(0), as_bytes("a")).ok());
    flaky.fail_at(0, FlakyBackend::Fault::power_loss);
    EXPECT_FALSE(flaky.put(pack(1), as_bytes("b")).ok());
    EXPECT_FALSE(flaky.get(pack(0)).ok());
    EXPECT_FALSE(flaky.remove(pack(0)).ok());
    EXPECT_EQ(memory.files().size(), 1u);
    flaky.heal();
    EXPECT_TRUE(flaky.get(pack(0)).ok());
}

TEST(MemoryBackend, IsFullAtItsCapacity) {
    MemoryBackend memory;
    memory.set_capacity(10);
    EXPECT_TRUE(memory.put(pack(0), as_bytes("12345678")).ok());
    auto put = memory.put(pack(1), as_bytes("123"));
    ASSERT_FALSE(put.ok());
    EXPECT_EQ(put.error().kind(), ErrorKind::no_space);
    ASSERT_TRUE(memory.remove(pack(0)).ok());
    EXPECT_TRUE(memory.put(pack(1), as_bytes("123")).ok());
}

TEST(MemoryBackend, ReadOnlyDeniesEveryChange) {
    MemoryBackend memory;
    ASSERT_TRUE(memory.put(pack(0), as_bytes("a")).ok());
    memory.set_read_only(true);
    EXPECT_EQ(memory.put(pack(1), as_bytes("b")).error().kind(), ErrorKind::denied);
    EXPECT_EQ(memory.remove(pack(0)).error().kind(), ErrorKind::denied);
    EXPECT_EQ(memory.remove_lock({}).error().kind(), ErrorKind::denied);
    EXPECT_TRUE(memory.get(pack(0)).ok());
}

}  // namespace
}  // namespace backup
