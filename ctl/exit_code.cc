#include "ctl/exit_code.h"

#include <string>

#include "backupd_config.h"

namespace backup {

ExitCode exit_code(ErrorCode code) {
    switch (code) {
        case ErrorCode::none:
        case ErrorCode::busy:
        case ErrorCode::no_space:
        case ErrorCode::unsupported:
        case ErrorCode::cancelled:
        case ErrorCode::limits_exceeded:
            return ExitCode::failed;
        case ErrorCode::no_such_set:
        case ErrorCode::no_such_revision:
        case ErrorCode::no_such_path:
        case ErrorCode::no_such_job:
        case ErrorCode::no_such_repository:
            return ExitCode::not_found;
        case ErrorCode::repository_missing:
            return ExitCode::repository_missing;
        case ErrorCode::repository_locked:
            return ExitCode::repository_locked;
        case ErrorCode::repository_unavailable:
        case ErrorCode::offline:
            return ExitCode::repository_unreachable;
        case ErrorCode::repository_damaged:
            return ExitCode::damage;
        case ErrorCode::wrong_password:
            return ExitCode::wrong_password;
        case ErrorCode::revision_incomplete:
        case ErrorCode::conflict:
            return ExitCode::refused;
        case ErrorCode::paused:
            return ExitCode::deferred;
        case ErrorCode::quota_exceeded:
        case ErrorCode::policy_denied:
            return ExitCode::limit;
        case ErrorCode::shutting_down:
        case ErrorCode::daemon_unreachable:
            return ExitCode::unreachable_daemon;
        case ErrorCode::invalid_arguments:
            return ExitCode::usage;
        case ErrorCode::access_denied:
        case ErrorCode::consent_needed:
            return ExitCode::not_authorised;
    }
    return ExitCode::failed;
}

ExitCode exit_code(const Error& error) {
    if (error.code() != ErrorCode::none) return exit_code(error.code());
    switch (error.kind()) {
        case ErrorKind::invalid:
            return ExitCode::usage;
        case ErrorKind::conflict:
            return ExitCode::refused;
        case ErrorKind::cancelled:  // at a question
            return ExitCode::interrupted;
        case ErrorKind::not_found:
        case ErrorKind::transient:
        case ErrorKind::denied:
        case ErrorKind::corrupt:
        case ErrorKind::no_space:
        case ErrorKind::io:
            return ExitCode::failed;
    }
    return ExitCode::failed;
}

ErrorCode error_code_from_bus(std::string_view error_name) {
    constexpr std::string_view kOurs = BACKUPD_BUS_NAME ".Error.";
    constexpr std::string_view kBus = "org.freedesktop.DBus.Error.";
    if (error_name.starts_with(kOurs))
        return error_code_from_string(error_name.substr(kOurs.size()));
    if (!error_name.starts_with(kBus)) {
        // systemd's answers to an activation that fails: unit not found, masked, job failed.
        return error_name.starts_with("org.freedesktop.systemd1.") ? ErrorCode::daemon_unreachable
                                                                   : ErrorCode::none;
    }
    std::string_view name = error_name.substr(kBus.size());
    if (name == "AccessDenied" || name == "AuthFailed") return ErrorCode::access_denied;
    if (name == "InteractiveAuthorizationRequired") return ErrorCode::consent_needed;
    if (name == "InvalidArgs" || name == "InvalidSignature") return ErrorCode::invalid_arguments;
    if (name == "ServiceUnknown" || name == "NameHasNoOwner" || name == "NoServer" ||
        name == "Disconnected" || name == "NoReply" || name == "Timeout" || name == "TimedOut" ||
        name == "NoNetwork" || name.starts_with("Spawn."))
        return ErrorCode::daemon_unreachable;
    if (name == "UnknownMethod" || name == "UnknownInterface" || name == "NotSupported")
        return ErrorCode::unsupported;
    if (name == "LimitsExceeded") return ErrorCode::limits_exceeded;
    return ErrorCode::none;
}

std::string error_name_for_bus(ErrorCode code) {
    std::string_view name = to_string(code);
    return name.empty() ? std::string() : BACKUPD_BUS_NAME ".Error." + std::string(name);
}

ExitCode exit_code_of_job(std::string_view result, std::string_view error_name) {
    if (result == "complete") return ExitCode::done;
    if (result == "exceptions")
        return error_code_from_bus(error_name) == ErrorCode::quota_exceeded ? ExitCode::limit
                                                                            : ExitCode::exceptions;
    if (result == "failed") {
        ExitCode code = exit_code(error_code_from_bus(error_name));
        return code == ExitCode::done ? ExitCode::failed : code;
    }
    if (result == "interrupted" && error_code_from_bus(error_name) == ErrorCode::paused)
        return ExitCode::deferred;
    return ExitCode::failed;  // cancelled, interrupted
}

}  // namespace backup
