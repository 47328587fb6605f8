// Executor runs blocking work for the loop: work() on a thread of its own, then done(result) on the
// loop thread. With one thread the work runs strictly in order, which makes it the home of anything
// that wants a serial writer. Created, used and destroyed on the loop thread. The destructor waits
// for what was begun; what still waits is dropped, and so are all done() callbacks not yet called:
// they never leave the loop thread, so they may own its objects.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "daemon/runtime/loop.h"

namespace backup {

class Executor {
  public:
    // At most `threads`, started when first needed. `name` is shown by top (15 characters).
    Executor(Loop& loop, std::string name, unsigned threads);
    ~Executor();

    template <typename Work, typename Done>
    void run(Work work, Done done) {
        using T = std::invoke_result_t<Work&>;
        if constexpr (std::is_void_v<T>) {
            submit(std::move(work), std::move(done));
        } else {
            // The worker fills it, the loop empties it; the post between them is the barrier.
            auto result = std::make_shared<std::optional<T>>();
            submit([work = std::move(work), result]() mutable { result->emplace(work()); },
                   [done = std::move(done), result]() mutable {
                       T value = std::move(**result);
                       result->reset();
                       done(std::move(value));
                   });
        }
    }
    void run(std::function<void()> work) {
        submit(std::move(work), [] {});
    }

    // Work begun or waiting.
    std::size_t pending() const { return done_.size(); }

  private:
    struct Shared;
    // Type erasure for callables that can only be moved.
    struct Task {
        virtual ~Task() = default;
        virtual void run() = 0;
    };
    template <typename F>
    struct TaskOf final : Task {
        explicit TaskOf(F f) : function(std::move(f)) {}
        void run() override { function(); }
        F function;
    };
    template <typename Work, typename Done>
    void submit(Work work, Done done) {
        submit_tasks(std::make_unique<TaskOf<Work>>(std::move(work)),
                     std::make_unique<TaskOf<Done>>(std::move(done)));
    }
    void submit_tasks(std::unique_ptr<Task> work, std::unique_ptr<Task> done);
    void finished(std::uint64_t id);
    void work();

    Loop& loop_;
    const std::string name_;
    const unsigned most_threads_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // posts of a dead executor do nothing
    std::map<std::uint64_t, std::unique_ptr<Task>> done_;
    std::uint64_t next_ = 1;

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<std::pair<std::uint64_t, std::unique_ptr<Task>>> waiting_;
    unsigned idle_ = 0;
    bool closed_ = false;
    std::vector<std::jthread> threads_;  // loop thread only
};

}  // namespace backup
