#include "daemon/backend/slow_backend.h"

#include <fstream>
#include <future>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "daemon/backend/memory_backend.h"
#include "daemon/backend/rates.h"
#include "tests/support/temp_directory.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

constexpr Handle kConfig{FileType::config, {}};

Handle pack(std::uint8_t first) {
    Handle handle{FileType::pack, {}};
    handle.id.bytes[0] = first;
    return handle;
}

struct Line {
    std::uint64_t time;
    std::string way;
    unsigned connection;
    std::string type;
    std::size_t bytes;
};

std::vector<Line> lines_of(const std::string& log) {
    std::vector<Line> lines;
    std::ifstream file(log);
    Line line;
    while (file >> line.time >> line.way >> line.connection >> line.type >> line.bytes)
        lines.push_back(line);
    return lines;
}

class SlowBackendTest : public testing::Test {
  protected:
    SlowBackend make(std::uint64_t rate, unsigned connections = 4) {
        return {std::make_unique<MemoryBackend>(),
                {.connections = connections, .rate = rate, .latency = 0ms, .log = log}};
    }
    TempDirectory directory;
    const std::string log = directory.path() + "/log";
};

TEST(SlowLine, IsReadFromItsText) {
    const auto line = SlowLine::parse("connections=3 rate=1000 latency-ms=20 log=/tmp/x");
    ASSERT_TRUE(line.ok());
    EXPECT_EQ(line->connections, 3u);
    EXPECT_EQ(line->rate, 1000u);
    EXPECT_EQ(line->latency, 20ms);
    EXPECT_EQ(line->log, "/tmp/x");
    for (const char* bad : {"rate=0", "rate=x", "connections=0", "speed=1", "log=here", "rate"})
        EXPECT_FALSE(SlowLine::parse(bad).ok()) << bad;
}

TEST_F(SlowBackendTest, EveryByteIsInTheLogAndArrives) {
    SlowBackend slow = make(100 << 20);
    const Bytes content(100'000, 7);
    ASSERT_TRUE(slow.put(pack(1), content).ok());
    ASSERT_TRUE(slow.put(kConfig, Bytes(10, 1)).ok());
    auto back = slow.get(pack(1), {});
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, content);
    std::map<std::string, std::size_t> sums;
    for (const Line& line : lines_of(log)) sums[line.way + " " + line.type] += line.bytes;
    EXPECT_EQ(sums, (std::map<std::string, std::size_t>{
                        {"up pack", 100'000}, {"up config", 10}, {"down pack", 100'000}}));
}

TEST_F(SlowBackendTest, AConnectionIsNoFasterThanItsRate) {
    SlowBackend slow = make(1 << 20);
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(slow.put(pack(1), Bytes(256 << 10, 7)).ok());
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 249ms);
}

TEST_F(SlowBackendTest, AClosedGateStopsInsideAPackAndLocksStillPass) {
    SlowBackend slow = make(1 << 20, 1);
    SystemClock clock;
    auto gate = std::make_shared<Rates>(clock)->gate(Rates::Way::up, "home");
    auto putting = std::async(std::launch::async,
                              [&] { return slow.put_paced(pack(1), Bytes(8 << 20, 7), *gate); });
    while (lines_of(log).empty()) std::this_thread::yield();
    gate->close();
    // Goes over the one connection that there is: who waits at the gate holds none.
    ASSERT_TRUE(slow.put({FileType::lock, {}}, Bytes(100, 7)).ok());
    const auto sent = [&] {
        std::size_t sum = 0;
        for (const Line& line : lines_of(log)) sum += line.type == "pack" ? line.bytes : 0;
        return sum;
    };
    while (sent() != gate->passed()) std::this_thread::yield();
    EXPECT_LE(sent(), 16 * Stride::kFirst);
    gate->let_go();
    EXPECT_EQ(putting.get().error().kind(), ErrorKind::cancelled);
    EXPECT_EQ(slow.stat(pack(1)).error().kind(), ErrorKind::not_found);
}

class AnyPace final : public Pace {
  public:
    bool pass(std::size_t) override { return true; }
    std::size_t piece() const override { return most; }
    std::size_t most = 64 << 20;
};

TEST(Stride, GrowsWhereItIsFastAndShrinksWhereItIsSlow) {
    AnyPace pace;
    Stride stride;
    for (int i = 0; i < 10; ++i) {
        const std::size_t piece = stride.next(pace, 64 << 20);
        stride.sent(piece, 1ms);
    }
    EXPECT_EQ(stride.next(pace, 64 << 20), Stride::kMost);
    EXPECT_EQ(stride.next(pace, 1000), 1000u);
    // 16 KiB a second.
    for (int i = 0; i < 10; ++i) stride.sent(stride.next(pace, 64 << 20), 3s);
    EXPECT_EQ(stride.next(pace, 64 << 20), Stride::kLeast);
    // The last piece of a file says nothing about larger ones.
    stride.sent(10, 1ms);
    EXPECT_EQ(stride.next(pace, 64 << 20), Stride::kLeast);
}

TEST(Stride, NeverAsksForMoreThanThePaceWantsAtOnce) {
    AnyPace pace;
    pace.most = 32 << 10;
    EXPECT_EQ(Stride().next(pace, 64 << 20), pace.most);
}

}  // namespace
}  // namespace backup
