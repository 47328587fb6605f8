#include "daemon/runtime/precedence.h"

#include <atomic>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

namespace backup {
namespace {

TEST(Precedence, NobodyWaitsWhereNobodyHoldsIt) {
    Precedence precedence;
    precedence.give_way({});
    { const Precedence::Holder holder(&precedence); }
    precedence.give_way({});
    EXPECT_FALSE(precedence.is_held());
}

TEST(Precedence, WaitsForTheLastHolder) {
    Precedence precedence;
    std::optional<Precedence::Holder> first(std::in_place, &precedence);
    std::optional<Precedence::Holder> second(std::in_place, &precedence);
    std::atomic<bool> may_pass{false}, passed_early{false};
    std::jthread waiting([&] {
        precedence.give_way({});
        if (!may_pass) passed_early = true;
    });
    first.reset();
    may_pass = true;
    second.reset();
    waiting.join();
    EXPECT_FALSE(passed_early);
}

TEST(Precedence, AStopEndsTheWaiting) {
    Precedence precedence;
    const Precedence::Holder holder(&precedence);
    std::stop_source stop;
    std::jthread waiting([&] { precedence.give_way(stop.get_token()); });
    stop.request_stop();
    waiting.join();
}

}  // namespace
}  // namespace backup
