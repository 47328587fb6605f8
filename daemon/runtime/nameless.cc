#include "daemon/runtime/nameless.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/path.h"
#include "common/unique_fd.h"

namespace backup {

Result<std::uint64_t> touch_nameless(const std::string& directory) {
    const UniqueFd file(::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0)
        return Error::from_errno(errno, "touch " + printable(directory));
    return static_cast<std::uint64_t>(status.st_ino);
}

}  // namespace backup
