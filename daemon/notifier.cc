#include "daemon/notifier.h"

#include <systemd/sd-daemon.h>

namespace backup {

void Notifier::extend_timeout(Duration by) {
    auto usec = std::chrono::duration_cast<std::chrono::microseconds>(by).count();
    sd_notify(0, ("EXTEND_TIMEOUT_USEC=" + std::to_string(usec)).c_str());
}

void Notifier::ready(const std::string& status) {
    sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}

void Notifier::stopping() {
    sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
}

void Notifier::start_watchdog(Loop& loop) {
    std::uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0) return;
    watchdog_ = loop.every(std::chrono::microseconds(usec / 2), [] { sd_notify(0, "WATCHDOG=1"); });
}

}  // namespace backup
