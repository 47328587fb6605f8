#include "daemon/runtime/worker_pool.h"

#include <system_error>
#include <utility>

#include <pthread.h>
#include <signal.h>

namespace backup {

WorkerPool::WorkerPool(const std::string& name, unsigned count, Work work)
    : work_(std::move(work)) {
    // Signals belong to the loop: a worker that got one would see its system calls interrupted.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    threads_.reserve(count);
    for (unsigned worker = 0; worker < count; ++worker) {
        try {
            threads_.emplace_back([this, worker] { work_(stop_.get_token(), worker); });
        } catch (const std::system_error&) {
            break;  // fewer threads do the same work
        }
        std::string full =
            name.substr(0, 15 - std::to_string(worker).size()) + std::to_string(worker);
        pthread_setname_np(threads_.back().native_handle(), full.c_str());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WorkerPool::~WorkerPool() {
    request_stop();
    join();
}

void WorkerPool::request_stop() {
    stop_.request_stop();
}

void WorkerPool::join() {
    for (std::thread& thread : threads_)
        if (thread.joinable()) thread.join();
}

}  // namespace backup
