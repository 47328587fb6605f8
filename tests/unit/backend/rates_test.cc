#include "daemon/backend/rates.h"

#include <future>

#include <gtest/gtest.h>

namespace backup {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr MonotonicTime kBegin{1h};

// Sends pieces of that size for so long; the bytes that went.
std::uint64_t send(TokenBucket& bucket, MonotonicTime& now, Duration length, std::uint64_t piece) {
    const MonotonicTime end = now + length;
    std::uint64_t sent = 0;
    while (now < end) {
        if (const Duration wait = bucket.wait(now); wait > Duration::zero()) {
            now += wait;
            continue;
        }
        bucket.take(piece, now);
        sent += piece;
    }
    return sent;
}

TEST(TokenBucket, KeepsTheRateWithinFivePercentWhateverThePieces) {
    for (const std::uint64_t piece : {16 * 1024UL, 256 * 1024UL, 4 * kMiB}) {
        TokenBucket bucket;
        MonotonicTime now = kBegin;
        bucket.set_rate(20 * kMiB, now);
        const auto sent = static_cast<double>(send(bucket, now, 30s, piece));
        EXPECT_NEAR(sent / static_cast<double>(30 * 20 * kMiB), 1, 0.05) << piece;
    }
}

TEST(TokenBucket, MakesUpForNoMoreThanItsBurstAfterAPause) {
    TokenBucket bucket;
    MonotonicTime now = kBegin;
    bucket.set_rate(kMiB, now);
    send(bucket, now, 1s, 1024);
    now += 1h;
    EXPECT_LE(send(bucket, now, 1s, 1024), kMiB + kMiB / 10 + 1024);
}

TEST(TokenBucket, ANewRateCountsWithinASecond) {
    TokenBucket bucket;
    MonotonicTime now = kBegin;
    bucket.set_rate(100, now);
    bucket.take(100'000, now);  // a thousand seconds of debt
    bucket.set_rate(kMiB, now);
    EXPECT_LE(bucket.wait(now), 1s);
    now += 1s;
    EXPECT_NEAR(static_cast<double>(send(bucket, now, 10s, 1024)), 10.0 * kMiB, 0.5 * kMiB);
}

TEST(TokenBucket, WithoutALimitNobodyWaits) {
    TokenBucket bucket;
    bucket.take(std::uint64_t{1} << 50, kBegin);
    EXPECT_EQ(bucket.wait(kBegin), 0s);
}

class RatesTest : public testing::Test {
  protected:
    SystemClock clock;
    std::shared_ptr<Rates> rates = std::make_shared<Rates>(clock);
};

TEST_F(RatesTest, AClosedGateLetsNothingThroughUntilItIsOpened) {
    auto gate = rates->gate(Rates::Way::up, "home");
    gate->close();
    auto passing = std::async(std::launch::async, [&] { return gate->pass(100); });
    EXPECT_EQ(gate->passed(), 0u);
    gate->open();
    EXPECT_TRUE(passing.get());
    EXPECT_EQ(gate->passed(), 100u);
    EXPECT_EQ(rates->passed(Rates::Way::up), 100u);
    EXPECT_EQ(rates->passed(Rates::Way::down), 0u);
}

TEST_F(RatesTest, WhoWaitsAtAGateGivesUpWhenItLetsGo) {
    auto gate = rates->gate(Rates::Way::up, "home");
    gate->close();
    auto passing = std::async(std::launch::async, [&] { return gate->pass(100); });
    gate->let_go();
    EXPECT_FALSE(passing.get());
    gate->open();
    EXPECT_FALSE(gate->pass(1));
}

TEST_F(RatesTest, WhoWaitsForAByteASecondGoesOnWhenTheLimitIsLifted) {
    rates->limit(Rates::Way::up, "", 1);
    auto gate = rates->gate(Rates::Way::up, "home");
    EXPECT_TRUE(gate->pass(100'000));  // more than a day of debt
    auto passing = std::async(std::launch::async, [&] { return gate->pass(1); });
    rates->limit(Rates::Way::up, "", 0);
    EXPECT_TRUE(passing.get());
}

TEST_F(RatesTest, ASetsLimitIsItsOwnAndPiecesFollowTheLowerOne) {
    rates->limit(Rates::Way::up, "slow", 1 << 20);
    EXPECT_LE(rates->gate(Rates::Way::up, "slow")->piece(), std::size_t{64} << 10);
    EXPECT_GE(rates->gate(Rates::Way::up, "fast")->piece(), std::size_t{1} << 20);
    EXPECT_GE(rates->gate(Rates::Way::down, "slow")->piece(), std::size_t{1} << 20);
    rates->limit(Rates::Way::up, "", 10);
    EXPECT_LE(rates->gate(Rates::Way::up, "fast")->piece(), std::size_t{16} << 10);
}

}  // namespace
}  // namespace backup
