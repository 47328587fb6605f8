#include "daemon/runtime/worker_pool.h"

#include <atomic>
#include <mutex>
#include <set>
#include <string>

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

namespace backup {

TEST(WorkerPool, EveryWorkerRunsOnceUnderItsName) {
    std::mutex mutex;
    std::set<unsigned> numbers;
    std::atomic<bool> named{false};
    WorkerPool pool("a-rather-long-name", 4, [&](std::stop_token, unsigned worker) {
        while (!named.load()) std::this_thread::yield();
        char name[16] = {};
        pthread_getname_np(pthread_self(), name, sizeof name);
        std::lock_guard lock(mutex);
        EXPECT_EQ(std::string(name), "a-rather-long-" + std::to_string(worker));
        numbers.insert(worker);
    });
    named = true;
    pool.join();
    EXPECT_EQ(pool.size(), 4u);
    EXPECT_EQ(numbers, (std::set<unsigned>{0, 1, 2, 3}));
}

TEST(WorkerPool, DestructionStopsAndJoins) {
    std::atomic<int> stopped{0};
    {
        WorkerPool pool("stop", 3, [&](std::stop_token stop, unsigned) {
            while (!stop.stop_requested()) std::this_thread::yield();
            ++stopped;
        });
    }
    EXPECT_EQ(stopped.load(), 3);
}

TEST(WorkerPool, WorkersTakeNoSignals) {
    std::atomic<bool> blocked{false};
    {
        WorkerPool pool("mask", 1, [&](std::stop_token, unsigned) {
            sigset_t mask;
            pthread_sigmask(SIG_SETMASK, nullptr, &mask);
            blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
        });
        pool.join();
    }
    EXPECT_TRUE(blocked.load());
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_EQ(sigismember(&mask, SIGTERM), 0);
}

}  // namespace backup
