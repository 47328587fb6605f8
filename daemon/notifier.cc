#include "daemon/notifier.h"

#include <cstdlib>
#include <map>
#include <mutex>

#include <fcntl.h>
#include <systemd/sd-daemon.h>

namespace backup {

void Notifier::extend_timeout(Duration by) {
    auto usec = std::chrono::duration_cast<std::chrono::microseconds>(by).count();
    sd_notify(0, ("EXTEND_TIMEOUT_USEC=" + std::to_string(usec)).c_str());
}

void Notifier::ready(const std::string& status) {
    sd_notify(0, ("READY=1\nSTATUS=" + status).c_str());
}

void Notifier::stopping() {
    sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
}

bool Notifier::has_store() {
    return std::getenv("NOTIFY_SOCKET") != nullptr;
}

UniqueFd Notifier::inherit(const std::string& name) {
    static std::mutex mutex;
    static auto* given = [] {
        auto* all = new std::multimap<std::string, UniqueFd>;
        char** names = nullptr;
        int count = sd_listen_fds_with_names(1, &names);
        for (int i = 0; i < count; ++i) {
            int fd = SD_LISTEN_FDS_START + i;
            ::fcntl(fd, F_SETFD, FD_CLOEXEC);
            all->emplace(names[i], UniqueFd(fd));
            std::free(names[i]);
        }
        std::free(names);
        return all;
    }();
    std::lock_guard lock(mutex);
    auto found = given->find(name);
    if (found == given->end()) return {};
    UniqueFd fd = std::move(found->second);
    given->erase(found);
    return fd;
}

void Notifier::keep(const std::string& name, int fd) {
    sd_pid_notify_with_fds(0, 0, ("FDSTORE=1\nFDNAME=" + name).c_str(), &fd, 1);
}

void Notifier::forget(const std::string& name) {
    sd_notify(0, ("FDSTOREREMOVE=1\nFDNAME=" + name).c_str());
}

void Notifier::start_watchdog(Loop& loop) {
    std::uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0) return;
    watchdog_ = loop.every(std::chrono::microseconds(usec / 2), [] { sd_notify(0, "WATCHDOG=1"); });
}

}  // namespace backup
