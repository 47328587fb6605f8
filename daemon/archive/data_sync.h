// DataSync has the dirty pages of single files written back, with a limit in time: on a frozen file
// system fdatasync() does not come back. The calls are made by a thread of its own, started when it
// is first needed; one that is stuck is left behind with nothing but a duplicate of the descriptor,
// and no more are made. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <stop_token>

#include "common/clock.h"
#include "daemon/runtime/fs.h"

namespace backup {

class DataSync {
  public:
    static constexpr Duration kMostWait = std::chrono::seconds(10);

    // `fs` must outlive a call that is stuck: the real one, which lives for ever, or a test's.
    explicit DataSync(Fs& fs, Duration most_wait = kMostWait) : fs_(fs), most_wait_(most_wait) {}
    ~DataSync();
    DataSync(const DataSync&) = delete;
    DataSync& operator=(const DataSync&) = delete;

    // True: every page that was dirty before the call is clean. Gives up early when stopped.
    bool sync(int fd, const std::stop_token& stop);

  private:
    struct Shared;
    Fs& fs_;
    const Duration most_wait_;
    std::mutex mutex_;  // one caller at a time; guards shared_
    std::shared_ptr<Shared> shared_;
};

}  // namespace backup
