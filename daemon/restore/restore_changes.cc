#include "daemon/restore/restore_changes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

// Never through a symbolic link.
UniqueFd open_below(int target_fd, const std::string& path) {
    UniqueFd at(::openat(target_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (std::size_t begin = 1; at && begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        at.reset(::openat(at.get(), path.substr(begin, end - begin).c_str(),
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        begin = end + 1;
    }
    return at;
}

}  // namespace

void ChangeTeller::will_create(std::string_view path, std::string_view source) {
    std::lock_guard lock(mutex_);
    is_durable_ = false;
    log_.will_create(path, source);
}

void ChangeTeller::will_change_entries(std::string_view path, const timespec& mtime) {
    std::lock_guard lock(mutex_);
    if (!directories_.emplace(path).second) return;
    is_durable_ = false;
    log_.will_change_entries(path, mtime);
}

void ChangeTeller::will_alter(std::string_view path) {
    std::lock_guard lock(mutex_);
    is_durable_ = false;
    directories_.emplace(path);
    log_.will_alter(path);
}

void ChangeTeller::left(std::string_view path, const timespec& mtime) {
    std::lock_guard lock(mutex_);
    is_durable_ = false;
    log_.left(path, mtime);
}

Result<> ChangeTeller::sync() {
    std::lock_guard lock(mutex_);
    if (is_durable_) return {};
    TRY(log_.sync());
    is_durable_ = true;
    return {};
}

Result<> ChangeTeller::finish(const std::vector<std::pair<std::string, timespec>>& mtimes) {
    for (const auto& [path, mtime] : mtimes) {
        UniqueFd fd = open_below(target_fd_, path);
        const timespec times[2] = {{0, UTIME_OMIT}, mtime};
        if (fd) (void)::futimens(fd.get(), times);
    }
    std::set<std::string, std::less<>> directories;
    {
        std::lock_guard lock(mutex_);
        directories = directories_;
    }
    for (const std::string& path : directories) {
        UniqueFd fd = open_below(target_fd_, path);
        struct stat status {};
        if (fd && ::fstat(fd.get(), &status) == 0) left(path, status.st_mtim);
    }
    return sync();
}

}  // namespace backup
