// The exit codes of backupctl: a contract with scripts, only ever added to; and how errors map to
// them. Pure.
#pragma once

#include <string_view>

#include "common/error.h"

namespace backup {

enum class ExitCode : int {
    done = 0,
    failed = 1,
    usage = 2,
    exceptions = 3,
    not_authorised = 4,
    not_found = 5,
    unreachable_daemon = 6,
    refused = 7,
    limit = 8,
    wait_timed_out = 9,
    repository_missing = 10,
    repository_locked = 11,
    wrong_password = 12,
    repository_unreachable = 13,
    damage = 14,
    health_degraded = 20,
    health_at_risk = 21,
    health_unknown = 22,
    deferred = 75,
    interrupted = 130,
};

ExitCode exit_code(ErrorCode code);
ExitCode exit_code(const Error& error);

// From a D-Bus error name, ours or the bus's own; none for names we do not know.
ErrorCode error_code_from_bus(std::string_view error_name);
// "org.backupd1.Error.NoSuchSet"; "" for none.
std::string error_name_for_bus(ErrorCode code);

// How a job that ended is told to a script: `result` is complete, exceptions, failed, cancelled or
// interrupted, `error_name` the one of Finished.
ExitCode exit_code_of_job(std::string_view result, std::string_view error_name);

}  // namespace backup
