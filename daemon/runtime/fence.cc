#include "daemon/runtime/fence.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include <sys/statvfs.h>
#include <unistd.h>

namespace backup {

namespace {

// The machine as its first process sees it is behind no fence.
constexpr const char* kOutside = "/proc/1/root";

std::string quoted_for_shell(const std::string& text) {
    std::string quoted = "'";
    for (char c : text) {
        if (c == '\'')
            quoted += "'\\''";
        else
            quoted += c;
    }
    return quoted + "'";
}

// A word of a unit file.
std::string quoted_for_unit(const std::string& text) {
    std::string quoted = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') quoted += '\\';
        if (c == '%') quoted += '%';
        quoted += c;
    }
    return quoted + "\"";
}

bool can_be_written_outside(std::string folder) {
    for (;;) {
        struct statvfs status {};
        if (::statvfs((kOutside + folder).c_str(), &status) == 0)
            return (status.f_flag & ST_RDONLY) == 0;
        if (errno != ENOENT || folder.size() <= 1) return true;
        folder.erase(std::max<std::size_t>(folder.rfind('/'), 1));
    }
}

}  // namespace

std::string commands_to_open_fence(const std::string& folder) {
    const std::string unit = "/etc/systemd/system/backupd.service.d";
    // "-": a disk that is not there keeps nobody from starting.
    return "mkdir -p " + quoted_for_shell(folder) + " " + unit + " && printf '%s\\n' '[Service]' " +
           quoted_for_shell("ReadWritePaths=" + quoted_for_unit("-" + folder)) + " >>" + unit +
           "/folders.conf && systemctl daemon-reload && systemctl restart backupd";
}

std::string how_to_open_fence(const std::string& folder) {
    const bool is_service = ::geteuid() == 0 && std::getenv("INVOCATION_ID") != nullptr;
    if (!is_service || !folder.starts_with('/') || !can_be_written_outside(folder)) return {};
    return commands_to_open_fence(folder);
}

Error explain_fence(Error error, const std::string& folder) {
    if (error.os_error() != EROFS) return error;
    const std::string how = how_to_open_fence(folder);
    if (how.empty()) return error;
    Error explained(
        error.kind(), error.code(),
        error.message() +
            ": backupd may write to its own folders alone; this lets it write there: " + how);
    return explained;
}

}  // namespace backup
