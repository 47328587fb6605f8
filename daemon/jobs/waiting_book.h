// What waits outlasts the daemon: runs that somebody asked for and that were put off, and since
// when each reason holds. One small file of the state. Pure but for what reads it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "common/clock.h"
#include "daemon/schedule/reason.h"
#include "daemon/schedule/run_times.h"

namespace backup {

struct AskedWait {
    AskedRun run;
    Ignored ignored;
};
struct Waiting {
    std::map<std::string, AskedWait> asked;                        // by set
    std::map<std::pair<std::string, Condition>, Timestamp> since;  // by set
};

std::string format_waiting(const Waiting& waiting);
// Lines that cannot be understood are passed over.
Waiting parse_waiting(std::string_view text);
// Without the file: nothing waits. Blocking.
Waiting read_waiting(const std::string& file);

}  // namespace backup
