// Structured logging: to the journal when stderr is connected to it, else one line on stderr with a
// priority prefix. Thread-safe. A line is written where an error is handled, and there only.
// File names stay at debug level: logs are read by more people than the files are.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace backup {

enum class LogLevel {
    error = 3,
    warning = 4,
    notice = 5,
    info = 6,
    debug = 7
};  // syslog's numbers

// Fields such as {"BACKUPD_JOB", "12"}, {"MESSAGE_ID", kMessageStart}; shown by `journalctl -o
// verbose`.
using LogField = std::pair<std::string_view, std::string>;

void set_log_level(LogLevel most);
LogLevel log_level();
void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

inline void log_error(std::string_view message) {
    log(LogLevel::error, message);
}
inline void log_warning(std::string_view message) {
    log(LogLevel::warning, message);
}
inline void log_notice(std::string_view message) {
    log(LogLevel::notice, message);
}
inline void log_info(std::string_view message) {
    log(LogLevel::info, message);
}
inline void log_debug(std::string_view message) {
    log(LogLevel::debug, message);
}

}  // namespace backup
