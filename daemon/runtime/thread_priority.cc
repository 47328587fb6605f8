#include "daemon/runtime/thread_priority.h"

#include <cerrno>

#include <sys/resource.h>

namespace backup {

void give_way_to_other_threads() {
    constexpr int kSteps = 5;  // about a third of the share
    errno = 0;
    const int now = getpriority(PRIO_PROCESS, 0);
    if (now == -1 && errno != 0) return;
    // The kernel takes anything above the worst as the worst.
    static_cast<void>(setpriority(PRIO_PROCESS, 0, now + kSteps));
}

}  // namespace backup
