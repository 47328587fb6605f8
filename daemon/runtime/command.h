// Runs a program of the administrator's and waits for it: no shell, a time limit, its last words
// kept. Blocking; any thread. A child of ours; or, where BACKUPD_COMMANDS says "services" (the
// machine's daemon, behind its fence), a service of its own that the service manager runs, outside
// of what keeps us from writing.
#pragma once

#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace backup {

struct CommandRequest {
    std::vector<std::string> argv;  // the program is an absolute path
    // Added to a small environment of PATH, HOME, LANG; nothing else of ours is handed on.
    std::vector<std::pair<std::string, std::string>> environment;
    std::string input;  // on its standard input
    Duration timeout = std::chrono::minutes(1);
};

struct CommandResult {
    int exit_code = 0;  // 128 + signal for one that was killed
    bool timed_out = false;
    std::string output;  // its standard output, at most 64 KiB
    std::string errors;  // the end of what it said on standard error, at most 4 KiB

    bool succeeded() const { return exit_code == 0 && !timed_out; }
    // "ended with status 3: no such volume"
    std::string sentence() const;
};

// The error is of the start. At the time limit, and when asked to stop, it and what it started are
// killed.
Result<CommandResult> run_command(const CommandRequest& request, std::stop_token stop = {});

// Kills what a daemon that died has left running as services; children end with it. Before the
// first command.
void end_commands_left_over();

}  // namespace backup
