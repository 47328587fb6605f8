#include "daemon/restore/stamps.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>

#include <fcntl.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

constexpr std::uint64_t kSharedBit = 1;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash ^= value + 0x9e3779b97f4a7c15 + (hash << 12) + (hash >> 4);
    hash *= 0xff51afd7ed558ccd;
    return hash ^ (hash >> 33);
}

std::uint64_t state_of(const struct stat& status, bool is_shared) {
    std::uint64_t hash = mix(status.st_dev, status.st_ino);
    hash = mix(hash, status.st_mode & S_IFMT);
    if (!S_ISDIR(status.st_mode)) {
        hash = mix(hash, status.st_mode);
        hash = mix(hash, static_cast<std::uint64_t>(status.st_size));
        hash = mix(hash, static_cast<std::uint64_t>(status.st_mtim.tv_sec));
        hash = mix(hash, static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
        if (!is_shared) {
            hash = mix(hash, static_cast<std::uint64_t>(status.st_ctim.tv_sec));
            hash = mix(hash, static_cast<std::uint64_t>(status.st_ctim.tv_nsec));
        }
    }
    return is_shared ? hash | kSharedBit : hash & ~kSharedBit;
}

std::uint64_t hash_of(std::string_view path) {
    return std::hash<std::string_view>()(path);
}

}  // namespace

void ObjectStamps::add(std::string_view path, const struct stat& status) {
    const bool is_shared = !S_ISDIR(status.st_mode) && status.st_nlink > 1;
    std::lock_guard lock(mutex_);
    stamps_.push_back({hash_of(path), state_of(status, is_shared)});
}

void ObjectStamps::seal() {
    std::ranges::sort(stamps_);
}

const ObjectStamps::Stamp* ObjectStamps::find(std::string_view path) const {
    const auto found = std::ranges::lower_bound(stamps_, hash_of(path), {}, &Stamp::path);
    return found != stamps_.end() && found->path == hash_of(path) ? &*found : nullptr;
}

bool ObjectStamps::contains(std::string_view path) const {
    return find(path) != nullptr;
}

bool ObjectStamps::is_same(std::string_view path, const struct stat& status) const {
    const Stamp* stamp = find(path);
    return stamp != nullptr && stamp->state == state_of(status, (stamp->state & kSharedBit) != 0);
}

bool is_open_for_writing(int directory_fd, const char* name) {
    UniqueFd fd(::openat(directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    // A lease of a file server, say, which may still have something to write.
    if (!fd) return errno == EWOULDBLOCK;
    // Whoever opens it for writing in this instant makes the kernel signal us: by default one that
    // would end the process.
    (void)::fcntl(fd.get(), F_SETSIG, SIGURG);
    if (::fcntl(fd.get(), F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
    (void)::fcntl(fd.get(), F_SETLEASE, F_UNLCK);
    return false;
}

}  // namespace backup
