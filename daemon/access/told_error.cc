#include "daemon/access/told_error.h"

#include "common/log.h"

namespace backup {

namespace {

bool speaks_of_storage(const Error& error) {
    switch (error.code()) {
        case ErrorCode::no_such_repository:
        case ErrorCode::repository_missing:
        case ErrorCode::repository_locked:
        case ErrorCode::repository_unavailable:
        case ErrorCode::repository_damaged:
        case ErrorCode::wrong_password:
        case ErrorCode::offline:
        case ErrorCode::quota_exceeded:
        case ErrorCode::no_space:
            return true;
        case ErrorCode::none:
            return error.kind() != ErrorKind::invalid && error.kind() != ErrorKind::cancelled;
        case ErrorCode::no_such_set:
        case ErrorCode::no_such_revision:
        case ErrorCode::no_such_path:
        case ErrorCode::no_such_job:
        case ErrorCode::revision_incomplete:
        case ErrorCode::busy:
        case ErrorCode::conflict:
        case ErrorCode::paused:
        case ErrorCode::policy_denied:
        case ErrorCode::unsupported:
        case ErrorCode::shutting_down:
        case ErrorCode::cancelled:
        case ErrorCode::invalid_arguments:
        case ErrorCode::access_denied:
        case ErrorCode::consent_needed:
        case ErrorCode::limits_exceeded:
        case ErrorCode::daemon_unreachable:
            break;
    }
    return false;
}

}  // namespace

Error told_to(const Caller& caller, const Error& error) {
    if (caller.sees_all || !speaks_of_storage(error)) return error;
    if (error.kind() == ErrorKind::corrupt)
        return {error.kind(), error.code(),
                "what is stored of it is damaged: an administrator finds more in backupd's log"};
    return {error.kind(), error.code(),
            "what is stored cannot be read now: an administrator finds more in backupd's log"};
}

Error told_and_logged(const Caller& caller, const Error& error, const std::string& what) {
    Error told = told_to(caller, error);
    if (told.message() != error.message())
        log_warning(what + " for uid " + std::to_string(caller.uid) + ": " + error.message());
    return told;
}

}  // namespace backup
