// Who we are in locks, key files and snapshots: host, machine, user, process. Asked from the system
// at each call; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace backup {

struct Identity {
    std::string hostname;  // gethostname, as it is
    std::string username;  // empty if the user has no name
    std::int64_t pid = 0;
    std::uint32_t uid = 0, gid = 0;
};
Identity own_identity();

// The tag that says which machine made a snapshot: a host name may be that of another one tomorrow.
// Made of the machine-id, which cannot be got back from it. Empty: this machine has none. Other
// programs keep it and make nothing of it.
std::string machine_tag();
// What the tags of a snapshot say. Nothing: they say nothing, or this machine has no id.
std::optional<bool> is_made_here(const std::vector<std::string>& tags);

// False only if there surely is no such process here: a process that we may not signal is alive.
bool process_may_be_alive(std::int64_t pid);

}  // namespace backup
