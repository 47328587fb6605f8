// Notifier tells the service manager how we are: ready, stopping, alive. Loop thread only. Does
// nothing when nobody asked.
#pragma once

#include <string>

#include "common/clock.h"
#include "common/unique_fd.h"
#include "daemon/runtime/loop.h"

namespace backup {

class Notifier {
  public:
    // Before the loop runs, for a start that takes its time.
    static void extend_timeout(Duration by);

    void ready(const std::string& status);
    void stopping();
    // Descriptors that the service manager keeps over our restart (sd_notify(3), FDSTORE). Any
    // thread. Names without a colon.
    static bool has_store();
    static UniqueFd inherit(const std::string& name);
    static void keep(const std::string& name, int fd);
    static void forget(const std::string& name);
    // Pets the watchdog from a timer of the loop, at half its interval: a loop that hangs is seen.
    void start_watchdog(Loop& loop);

  private:
    Timer watchdog_;
};

}  // namespace backup
