// Who we are in locks and key files: host, user, process. Asked from the system at each call; any
// thread.
#pragma once

#include <cstdint>
#include <string>

namespace backup {

struct Identity {
    std::string hostname;  // gethostname, as it is
    std::string username;  // empty if the user has no name
    std::int64_t pid = 0;
    std::uint32_t uid = 0, gid = 0;
};
Identity own_identity();

// False only if there surely is no such process here: a process that we may not signal is alive.
bool process_may_be_alive(std::int64_t pid);

}  // namespace backup
