#include "daemon/ipc/log_control_object.h"

#include <utility>

#include "common/log.h"
#include "daemon/ipc/served.h"

namespace backup {

namespace {

constexpr std::pair<const char*, LogLevel> kLevels[] = {
    {"emerg", LogLevel::error}, {"alert", LogLevel::error},     {"crit", LogLevel::error},
    {"err", LogLevel::error},   {"warning", LogLevel::warning}, {"notice", LogLevel::notice},
    {"info", LogLevel::info},   {"debug", LogLevel::debug},
};

}  // namespace

const Interface& LogControlObject::interface() {
    static Interface table("org.freedesktop.LogControl1");
    static bool once = [] {
        table.writable("LogLevel")
            .writable("LogTarget")
            .property("SyslogIdentifier", "s", Changes::silent);
        return true;
    }();
    (void)once;
    return table;
}

wire::Value LogControlObject::property(std::string_view name) const {
    if (name == "LogTarget") return "auto";
    if (name == "SyslogIdentifier") return "backupd";
    std::string level = "err";
    for (const auto& [word, value] : kLevels)
        if (value == log_level()) level = word;
    return level;
}

Result<> LogControlObject::set_property(std::string_view name, const std::string& text) {
    if (name != "LogLevel") {
        if (text == "auto") return {};
        return Error(ErrorKind::invalid, ErrorCode::unsupported,
                     "the log target cannot be changed");
    }
    for (const auto& [word, value] : kLevels) {
        if (text != word) continue;
        set_log_level(value);
        return {};
    }
    return invalid_argument("no such log level: " + text);
}

}  // namespace backup
