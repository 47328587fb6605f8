// backupd-restore [--keep-rights]: writes what somebody gets back, with his rights; with the option
// what root gets back. Started by the service manager for a connection to its socket, or by
// backupd; the socket is descriptor 3. Of no use to anybody else.
#include <cstdio>
#include <string_view>

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/writer/serve.h"

int main(int argc, char** argv) {
    constexpr int kControl = 3;
    int type = 0;
    socklen_t size = sizeof type;
    const bool keeps_rights = argc == 2 && std::string_view(argv[1]) == backup::writer::kKeepRights;
    if (argc != (keeps_rights ? 2 : 1) ||
        ::getsockopt(kControl, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        std::fputs("backupd-restore: started by backupd, which gives it a socket\n", stderr);
        return 2;
    }
    // Orders are taken from whoever could carry them out himself.
    ucred peer{};
    size = sizeof peer;
    if (::getsockopt(kControl, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        peer.uid != ::geteuid()) {
        std::fputs("backupd-restore: only backupd may give orders\n", stderr);
        return 2;
    }
    const auto served = backup::writer::serve(backup::UniqueFd(kControl), keeps_rights);
    if (served.ok()) return 0;
    std::fprintf(stderr, "backupd-restore: %s\n", served.error().message().c_str());
    return 1;
}
