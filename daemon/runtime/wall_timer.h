// WallTimer calls back after a time of the wall clock, also when the machine slept meanwhile, and
// as soon as the clock is set: libuv's timers know neither. Belongs to the loop's thread. Where the
// kernel cannot do it, a timer of the loop stands in.
#pragma once

#include <functional>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/runtime/loop.h"

namespace backup {

class WallTimer {
  public:
    WallTimer(Loop& loop, std::function<void()> callback);
    WallTimer(const WallTimer&) = delete;
    WallTimer& operator=(const WallTimer&) = delete;

    // Once, that long after now; replaces what was asked for before.
    void start(Duration delay);

  private:
    std::function<void()> callback_;
    UniqueFd fd_;  // before what watches it
    FdWatch watch_;
    Timer instead_;
};

}  // namespace backup
