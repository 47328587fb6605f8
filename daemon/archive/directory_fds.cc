#include "daemon/archive/directory_fds.h"

#include <cassert>
#include <cerrno>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace backup {

int DirectoryFds::pin(Directory& directory) {
    {
        std::lock_guard lock(mutex_);
        if (directory.fd) {
            ++directory.fd_pins;
            return directory.fd.get();
        }
    }
    UniqueFd fd;
    if (int error = reopen(directory, fd); error < 0) return error;
    std::lock_guard lock(mutex_);
    if (!directory.fd) {  // else another thread was faster, and ours is closed
        directory.fd = std::move(fd);
        ++open_;
    }
    ++directory.fd_pins;
    return directory.fd.get();
}

void DirectoryFds::unpin(Directory& directory) {
    UniqueFd closing;  // closed outside the lock
    std::lock_guard lock(mutex_);
    assert(directory.fd_pins > 0);
    --directory.fd_pins;
    closing = take_if_idle(directory);
}

void DirectoryFds::adopt(Directory& directory, UniqueFd fd) {
    std::lock_guard lock(mutex_);
    directory.fd = std::move(fd);
    directory.fd_pins = 1;
    ++open_;
}

void DirectoryFds::need(Directory& directory, std::ptrdiff_t more) {
    UniqueFd closing;
    std::lock_guard lock(mutex_);
    directory.fd_needed += static_cast<std::size_t>(more);
    closing = take_if_idle(directory);
}

UniqueFd DirectoryFds::take_if_idle(Directory& directory) {
    bool wanted = directory.fd_needed > 0 && open_ <= most_;
    if (!directory.fd || directory.fd_pins > 0 || wanted) return {};
    --open_;
    return std::move(directory.fd);
}

// Climbs to the nearest ancestor that is open or has a path of its own, and comes down again.
int DirectoryFds::reopen(const Directory& directory, UniqueFd& out) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOATIME | O_NONBLOCK;
    std::vector<const Directory*> down;
    const Directory* top = &directory;
    UniqueFd fd;
    for (; top->path.empty(); top = top->parent) {
        if (top != &directory) {
            std::lock_guard lock(mutex_);
            if (top->fd) {
                fd.reset(::fcntl(top->fd.get(), F_DUPFD_CLOEXEC, 3));
                if (!fd) return -errno;
                break;
            }
        }
        down.push_back(top);
    }
    if (!fd) {
        int opened = fs_.open(AT_FDCWD, top->path.c_str(), kFlags);
        if (opened < 0) return opened;
        fd.reset(opened);
    }
    while (!down.empty()) {
        const Directory* step = down.back();
        down.pop_back();
        int opened = fs_.open(fd.get(), step->name.c_str(), kFlags | O_NOFOLLOW);
        if (opened < 0) return opened;
        fd.reset(opened);
        struct statx now;
        if (int error = fs_.status(fd.get(), "", AT_EMPTY_PATH, now); error < 0) return error;
        if (identity_of(now) != step->identity) return -ESTALE;
    }
    out = std::move(fd);
    return 0;
}

}  // namespace backup
