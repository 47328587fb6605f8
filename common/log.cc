#include "common/log.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

namespace backup {

namespace {

std::atomic<LogLevel> most_verbose{LogLevel::info};

// systemd tells with JOURNAL_STREAM=device:inode which stream it connected; a redirected stderr
// differs.
bool stderr_is_journal() {
    static const bool answer = [] {
        const char* stream = std::getenv("JOURNAL_STREAM");
        if (stream == nullptr) return false;
        unsigned long long device = 0, inode = 0;
        struct stat status {};
        return std::sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
               status.st_ino == inode;
    }();
    return answer;
}

}  // namespace

void set_log_level(LogLevel most) {
    most_verbose.store(most, std::memory_order_relaxed);
}
LogLevel log_level() {
    return most_verbose.load(std::memory_order_relaxed);
}

void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
    if (level > log_level()) return;
    if (stderr_is_journal()) {
        std::vector<std::string> lines;
        lines.reserve(fields.size() + 2);
        lines.push_back("MESSAGE=" + std::string(message));
        lines.push_back("PRIORITY=" + std::to_string(static_cast<int>(level)));
        for (const auto& [name, value] : fields) lines.push_back(std::string(name) + "=" + value);
        std::vector<iovec> parts;
        for (auto& line : lines) parts.push_back({line.data(), line.size()});
        if (sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) >= 0) return;
    }
    std::string line;
    if (std::getenv("JOURNAL_STREAM") != nullptr)
        line = "<" + std::to_string(static_cast<int>(level)) + ">";
    line += message;
    line += '\n';
    // One write, so that lines of several threads do not mix.
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace backup
