#include "daemon/watch/open_path.h"

#include <cerrno>

#include <fcntl.h>

#include "common/unique_fd.h"
#include "daemon/runtime/fs.h"

namespace backup {

int open_path(const std::string& path, int flags) {
    constexpr std::size_t kMost = 4095;  // PATH_MAX less the NUL
    UniqueFd at;
    std::size_t begin = 0;
    while (path.size() - begin > kMost) {
        const std::size_t end = path.rfind('/', begin + kMost);
        if (end == std::string::npos || end <= begin) return -ENAMETOOLONG;
        const std::string part = path.substr(begin, end - begin);
        const int fd = RealFs::instance().open(at ? at.get() : AT_FDCWD, part.c_str(),
                                               O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) return fd;
        at.reset(fd);
        begin = end + 1;
    }
    return RealFs::instance().open(at ? at.get() : AT_FDCWD, path.c_str() + begin, flags);
}

}  // namespace backup
