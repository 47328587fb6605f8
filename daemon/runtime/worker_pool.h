// WorkerPool runs one function on several named threads and joins them: nothing outlives the pool.
// Made and destroyed by one thread, the owner. Destruction asks the workers to stop and waits for
// them; join() waits for them to come back by themselves. The function must not throw.
// Where the system refuses threads there are fewer of them; size() tells, and 0 is the owner's
// error to report.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace backup {

class WorkerPool {
  public:
    // `name` is what top and gdb show, 15 bytes with the number behind it.
    using Work = std::function<void(std::stop_token stop, unsigned worker)>;
    WorkerPool(const std::string& name, unsigned count, Work work);
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    unsigned size() const { return static_cast<unsigned>(threads_.size()); }
    void request_stop();
    void join();

  private:
    std::stop_source stop_;
    Work work_;
    std::vector<std::thread> threads_;
};

}  // namespace backup
