#include "daemon/runtime/executor.h"

#include <pthread.h>

namespace backup {

Executor::Executor(Loop& loop, std::string name, unsigned threads)
    : loop_(loop), name_(std::move(name)), most_threads_(threads) {}

Executor::~Executor() {
    {
        std::lock_guard lock(mutex_);
        closed_ = true;
        waiting_.clear();
    }
    changed_.notify_all();
    threads_.clear();
    alive_.reset();
    done_.clear();
}

void Executor::submit_tasks(std::unique_ptr<Task> task, std::unique_ptr<Task> done) {
    std::uint64_t id = next_++;
    done_.emplace(id, std::move(done));
    bool start = false;
    {
        std::lock_guard lock(mutex_);
        waiting_.emplace_back(id, std::move(task));
        start = idle_ < waiting_.size() && threads_.size() < most_threads_;
    }
    if (start) threads_.emplace_back([this] { work(); });
    changed_.notify_one();
}

void Executor::work() {
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
        --idle_;
        if (closed_) return;
        auto [id, task] = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        task->run();
        task.reset();
        loop_.post([this, id = id, alive = std::weak_ptr<int>(alive_)] {
            if (!alive.expired()) finished(id);
        });
        lock.lock();
    }
}

void Executor::finished(std::uint64_t id) {
    auto found = done_.extract(id);
    if (!found.empty()) found.mapped()->run();
}

}  // namespace backup
