#include "daemon/repository/identity.h"

#include <cerrno>
#include <climits>
#include <vector>

#include <pwd.h>
#include <signal.h>
#include <unistd.h>

namespace backup {

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
