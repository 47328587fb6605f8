// Error says what failed, to which object, and, by its kind, what the caller should do now.
// A value type; safe to move between threads. Callbacks of libuv, sd-bus and libcurl are C frames,
// so failure travels as a value, never as an exception.
#pragma once

#include <string>
#include <string_view>

namespace backup {

// Answers one question: what should the caller do now?
enum class ErrorKind {
    not_found,  // it is not there: try something else
    transient,  // may go away: retry
    denied,     // rights are missing: ask the administrator
    invalid,    // the request or the configuration is wrong: ask the user
    corrupt,    // stored bytes are wrong: stop, keep the evidence
    conflict,   // someone else holds it, or it already exists
    no_space,   // storage is full
    cancelled,  // somebody asked to stop
    io,         // the machine failed
};

// What happened, for programs: becomes the D-Bus error name and the exit code of backupctl.
// Only ever added to. `none` means that the kind alone decides.
enum class ErrorCode {
    none,
    no_such_set,
    no_such_revision,
    no_such_path,
    no_such_job,
    no_such_repository,      // the repository is not configured
    repository_missing,      // there is no repository at that place
    repository_locked,       // another tool holds the exclusive lock
    repository_unavailable,  // storage cannot be reached
    repository_damaged,
    wrong_password,
    revision_incomplete,
    busy,
    conflict,
    paused,
    offline,
    quota_exceeded,
    policy_denied,
    no_space,
    unsupported,
    shutting_down,
    cancelled,
    invalid_arguments,
    access_denied,
    consent_needed,  // access_denied until an administrator's password is typed
    limits_exceeded,
    daemon_unreachable,  // made by clients: no bus, or no daemon on it
};

class [[nodiscard]] Error {
  public:
    Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
    Error(ErrorKind kind, ErrorCode code, std::string message)
        : kind_(kind), code_(code), message_(std::move(message)) {}

    // From errno. `what` names the action and the object: "open /etc/shadow".
    static Error from_errno(int error_number, std::string_view what);

    ErrorKind kind() const { return kind_; }
    ErrorCode code() const { return code_; }
    const std::string& message() const { return message_; }
    // The errno this came from, or 0.
    int os_error() const { return os_error_; }

    // Adds the context a reader would otherwise ask for: "read index 1a2b3c4d: short file".
    Error during(std::string_view context) &&;
    Error with_code(ErrorCode code) &&;

  private:
    ErrorKind kind_;
    ErrorCode code_ = ErrorCode::none;
    int os_error_ = 0;
    std::string message_;
};

std::string_view to_string(ErrorKind kind);
// "NoSuchSet", "RepositoryLocked" ...: the last part of the D-Bus error name. Empty for none.
std::string_view to_string(ErrorCode code);
// The inverse of to_string(ErrorCode); none for unknown names.
ErrorCode error_code_from_string(std::string_view name);

}  // namespace backup
