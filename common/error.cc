#include "common/error.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace backup {

namespace {

ErrorKind kind_from_errno(int error_number) {
    switch (error_number) {
        case ENOENT:
        case ENOTDIR:
        case ESRCH:
            return ErrorKind::not_found;
        case EACCES:
        case EPERM:
        case EROFS:
            return ErrorKind::denied;
        case ENOSPC:
        case EDQUOT:
            return ErrorKind::no_space;
        case EEXIST:
        case EBUSY:
        case ETXTBSY:
            return ErrorKind::conflict;
        case EINTR:
        case EAGAIN:
        case ETIMEDOUT:
            return ErrorKind::transient;
        case ECANCELED:
            return ErrorKind::cancelled;
        case EINVAL:
        case ENAMETOOLONG:
            return ErrorKind::invalid;
    }
    return ErrorKind::io;
}

constexpr std::array<std::pair<ErrorCode, std::string_view>, 26> kCodes{{
    {ErrorCode::no_such_set, "NoSuchSet"},
    {ErrorCode::no_such_revision, "NoSuchRevision"},
    {ErrorCode::no_such_path, "NoSuchPath"},
    {ErrorCode::no_such_job, "NoSuchJob"},
    {ErrorCode::no_such_repository, "NoSuchRepository"},
    {ErrorCode::repository_missing, "RepositoryMissing"},
    {ErrorCode::repository_locked, "RepositoryLocked"},
    {ErrorCode::repository_unavailable, "RepositoryUnavailable"},
    {ErrorCode::repository_damaged, "RepositoryDamaged"},
    {ErrorCode::wrong_password, "WrongPassword"},
    {ErrorCode::revision_incomplete, "RevisionIncomplete"},
    {ErrorCode::busy, "Busy"},
    {ErrorCode::conflict, "Conflict"},
    {ErrorCode::paused, "Paused"},
    {ErrorCode::offline, "Offline"},
    {ErrorCode::quota_exceeded, "QuotaExceeded"},
    {ErrorCode::policy_denied, "PolicyDenied"},
    {ErrorCode::no_space, "NoSpace"},
    {ErrorCode::unsupported, "Unsupported"},
    {ErrorCode::shutting_down, "ShuttingDown"},
    {ErrorCode::cancelled, "Cancelled"},
    {ErrorCode::invalid_arguments, "InvalidArguments"},
    {ErrorCode::access_denied, "AccessDenied"},
    {ErrorCode::consent_needed, "InteractiveAuthorizationRequired"},
    {ErrorCode::limits_exceeded, "LimitsExceeded"},
    {ErrorCode::daemon_unreachable, "DaemonUnreachable"},
}};

}  // namespace

Error Error::from_errno(int error_number, std::string_view what) {
    std::string message(what);
    message += ": ";
    std::array<char, 128> text{};
    message += strerror_r(error_number, text.data(), text.size());
    Error error(kind_from_errno(error_number), std::move(message));
    error.os_error_ = error_number;
    if (error.kind_ == ErrorKind::no_space) error.code_ = ErrorCode::no_space;
    return error;
}

Error Error::during(std::string_view context) && {
    std::string message(context);
    message += ": ";
    message += message_;
    message_ = std::move(message);
    return std::move(*this);
}

Error Error::with_code(ErrorCode code) && {
    code_ = code;
    return std::move(*this);
}

std::string_view to_string(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::not_found:
            return "not found";
        case ErrorKind::transient:
            return "transient";
        case ErrorKind::denied:
            return "denied";
        case ErrorKind::invalid:
            return "invalid";
        case ErrorKind::corrupt:
            return "corrupt";
        case ErrorKind::conflict:
            return "conflict";
        case ErrorKind::no_space:
            return "no space";
        case ErrorKind::cancelled:
            return "cancelled";
        case ErrorKind::io:
            return "input/output";
    }
    return "unknown";
}

std::string_view to_string(ErrorCode code) {
    for (const auto& [value, name] : kCodes)
        if (value == code) return name;
    return {};
}

ErrorCode error_code_from_string(std::string_view name) {
    for (const auto& [value, text] : kCodes)
        if (text == name) return value;
    return ErrorCode::none;
}

}  // namespace backup
