#include "daemon/runtime/loop.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/runtime/executor.h"

namespace backup {
namespace {

using namespace std::chrono_literals;

TEST(Loop, RunsPostedTasksInOrderOnItsThread) {
    Loop loop;
    std::vector<int> order;
    std::thread::id where;
    std::jthread poster([&] {
        for (int i = 0; i < 100; ++i)
            loop.post([&, i] {
                order.push_back(i);
                where = std::this_thread::get_id();
            });
        loop.stop();
    });
    loop.run();
    ASSERT_EQ(order.size(), 100u);
    EXPECT_TRUE(std::ranges::is_sorted(order));
    EXPECT_EQ(where, std::this_thread::get_id());
}

TEST(Loop, RunsWhatWasPostedBeforeStop) {
    Loop loop;
    bool ran = false;
    loop.post([&] {
        loop.post([&] { ran = true; });
        loop.stop();
    });
    loop.run();
    EXPECT_TRUE(ran);
}

TEST(Loop, DropsWhatWasNeverRunWithoutRunningIt) {
    auto owned = std::make_shared<int>(1);
    bool ran = false;
    {
        Loop loop;
        loop.post([owned, &ran] { ran = true; });
    }
    EXPECT_FALSE(ran);
    EXPECT_EQ(owned.use_count(), 1);
}

TEST(Loop, RunsAgainAfterStop) {
    Loop loop;
    int runs = 0;
    for (int i = 0; i < 2; ++i) {
        loop.post([&] {
            ++runs;
            loop.stop();
        });
        loop.run();
    }
    EXPECT_EQ(runs, 2);
}

TEST(Timer, OneShotCallsOnceAndRepeatingUntilReset) {
    Loop loop;
    int once = 0, ticks = 0;
    Timer shot = loop.once(1ms, [&] { ++once; });
    Timer repeating;
    repeating = loop.every(1ms, [&] {
        if (++ticks == 3) {
            repeating.reset();  // from within its own callback
            loop.stop();
        }
    });
    loop.run();
    EXPECT_EQ(ticks, 3);
    EXPECT_LE(once, 1);
    EXPECT_FALSE(repeating);
}

TEST(Timer, ShortTimersFireBeforeLongOnes) {
    Loop loop;
    std::string order;
    Timer late = loop.once(20ms, [&] {
        order += 'b';
        loop.stop();
    });
    Timer early = loop.once(1ms, [&] { order += 'a'; });
    loop.run();
    EXPECT_EQ(order, "ab");
}

TEST(Timer, StoppedTimerIsNotRunning) {
    Loop loop;
    Timer timer = loop.timer([] {});
    EXPECT_FALSE(timer.is_running());
    timer.start(1h);
    EXPECT_TRUE(timer.is_running());
    timer.stop();
    EXPECT_FALSE(timer.is_running());
}

TEST(FdWatch, ReportsReadableAndHangUp) {
    Loop loop;
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    UniqueFd out(fds[0]), in(fds[1]);
    std::string got;
    auto watch = loop.watch(out.get(), FdWatch::readable, [&](int events) {
        EXPECT_TRUE(events & FdWatch::readable);
        char buffer[8];
        ssize_t n = read(out.get(), buffer, sizeof buffer);
        if (n <= 0) return loop.stop();
        got.append(buffer, static_cast<std::size_t>(n));
        in.reset();
    });
    ASSERT_TRUE(watch.ok());
    ASSERT_EQ(write(in.get(), "hi", 2), 2);
    loop.run();
    EXPECT_EQ(got, "hi");
}

TEST(FdWatch, RefusesWhatCannotBePolled) {
    Loop loop;
    EXPECT_FALSE(loop.watch(-1, FdWatch::readable, [](int) {}).ok());
}

TEST(Loop, DeliversSignals) {
    Loop loop;
    int seen = 0;
    auto handle = loop.on_signal(SIGUSR1, [&] {
        ++seen;
        loop.stop();
    });
    ASSERT_TRUE(handle.ok());
    ASSERT_EQ(raise(SIGUSR1), 0);
    loop.run();
    EXPECT_EQ(seen, 1);
}

TEST(Loop, CallsBeforeSleepAfterEveryTurn) {
    Loop loop;
    int prepared = 0, at_post = -1;
    LoopHandle prepare = loop.before_sleep([&] {
        if (++prepared == 1) {
            loop.post([&] {
                at_post = prepared;
                loop.stop();
            });
        }
    });
    loop.run();
    EXPECT_GE(at_post, 1);
}

TEST(Executor, GivesResultsBackOnTheLoopThread) {
    Loop loop;
    Executor pool(loop, "test", 2);
    std::thread::id worked, answered;
    int answer = 0;
    pool.run(
        [&] {
            worked = std::this_thread::get_id();
            return 42;
        },
        [&](int value) {
            answered = std::this_thread::get_id();
            answer = value;
            loop.stop();
        });
    loop.run();
    EXPECT_EQ(answer, 42);
    EXPECT_NE(worked, std::this_thread::get_id());
    EXPECT_EQ(answered, std::this_thread::get_id());
}

TEST(Executor, OneThreadKeepsTheOrder) {
    Loop loop;
    Executor pool(loop, "test", 1);
    std::vector<int> began;  // the single worker's
    int done = 0;
    for (int i = 0; i < 50; ++i)
        pool.run([&began, i] { began.push_back(i); },
                 [&] {
                     if (++done == 50) loop.stop();
                 });
    loop.run();
    ASSERT_EQ(began.size(), 50u);
    EXPECT_TRUE(std::ranges::is_sorted(began));
    EXPECT_EQ(pool.pending(), 0u);
}

TEST(Executor, DestructionDropsCallbacksOnTheLoopThread) {
    Loop loop;
    auto owned = std::make_shared<int>(1);
    bool called = false;
    {
        Executor pool(loop, "test", 1);
        pool.run([] {}, [owned, &called] { called = true; });
    }
    EXPECT_EQ(owned.use_count(), 1);
    loop.post([&] { loop.stop(); });
    loop.run();  // the post of the dead executor is harmless
    EXPECT_FALSE(called);
}

}  // namespace
}  // namespace backup
