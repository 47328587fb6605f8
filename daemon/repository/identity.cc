#include "daemon/repository/identity.h"

#include <cerrno>
#include <climits>
#include <vector>

#include <pwd.h>
#include <signal.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

namespace backup {

namespace {

constexpr std::string_view kMachineTag = "backupd:machine=";
// Ours alone: the same machine-id makes another number for every program.
constexpr sd_id128_t kApplication =
    SD_ID128_MAKE(5b, 1e, 8c, 07, d4, 63, 4f, 0a, 9d, 2c, 71, e5, 36, ab, f8, 14);

}  // namespace

std::string machine_tag() {
    sd_id128_t id{};
    if (::sd_id128_get_machine_app_specific(kApplication, &id) < 0) return {};
    char text[SD_ID128_STRING_MAX];
    return std::string(kMachineTag) + ::sd_id128_to_string(id, text);
}

std::optional<bool> is_made_here(const std::vector<std::string>& tags) {
    const std::string own = machine_tag();
    if (own.empty()) return std::nullopt;
    for (const std::string& tag : tags)
        if (tag.starts_with(kMachineTag)) return tag == own;
    return std::nullopt;
}

Identity own_identity() {
    Identity self;
    char host[HOST_NAME_MAX + 1] = {};
    if (gethostname(host, sizeof host - 1) == 0) self.hostname = host;
    self.pid = getpid();
    self.uid = getuid();
    self.gid = getgid();
    std::vector<char> space(16 * 1024);
    passwd entry{};
    passwd* found = nullptr;
    if (getpwuid_r(self.uid, &entry, space.data(), space.size(), &found) == 0 && found)
        self.username = found->pw_name;
    return self;
}

bool process_may_be_alive(std::int64_t pid) {
    if (pid <= 0 || pid > INT_MAX) return false;
    return kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH;
}

}  // namespace backup
