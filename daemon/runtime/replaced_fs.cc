#include "daemon/runtime/replaced_fs.h"

#include <algorithm>
#include <cerrno>
#include <string_view>

#include <fcntl.h>

namespace backup {

Result<std::unique_ptr<ReplacedFs>> ReplacedFs::make(Fs& base,
                                                     const std::vector<Replacement>& replacements) {
    std::unique_ptr<ReplacedFs> made(new ReplacedFs(base));
    for (const Replacement& one : replacements) {
        struct statx live {
        }, there{};
        int error = base.status(AT_FDCWD, one.path.c_str(), AT_SYMLINK_NOFOLLOW, live);
        if (error < 0) return Error::from_errno(-error, "look at " + printable(one.path.text()));
        error = base.status(AT_FDCWD, one.with.c_str(), AT_SYMLINK_NOFOLLOW, there);
        if (error < 0)
            return Error::from_errno(-error, "look at " + printable(one.with.text()) +
                                                 ", which stands for " +
                                                 printable(one.path.text()));
        if ((live.stx_mode & S_IFMT) != (there.stx_mode & S_IFMT))
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         printable(one.with.text()) + " cannot stand for " +
                             printable(one.path.text()) + ": it is of another kind");
        made->places_.push_back({one.path.text(), one.with.text(), there.stx_dev_major,
                                 there.stx_dev_minor, live.stx_dev_major, live.stx_dev_minor});
    }
    // Of paths within each other the inner one decides.
    std::ranges::sort(made->places_,
                      [](const Place& a, const Place& b) { return a.path.size() > b.path.size(); });
    return made;
}

ReplacedFs::Where ReplacedFs::where(int directory, const char* name) {
    if (name[0] != '/') {
        if (directory == AT_FDCWD) return {};
        std::lock_guard lock(mutex_);
        auto found = opened_.find(directory);
        return {{}, found == opened_.end() ? nullptr : found->second};
    }
    const std::string_view asked = name;
    for (const Place& place : places_) {
        const bool is_root = place.path == "/";
        if (!is_root && asked != place.path &&
            !(asked.starts_with(place.path) && asked[place.path.size()] == '/'))
            continue;
        return {place.with + std::string(asked.substr(is_root ? 0 : place.path.size())), &place};
    }
    return {};
}

int ReplacedFs::open(int directory, const char* name, int flags) {
    const Where at = where(directory, name);
    const int fd = base_.open(directory, at.name.empty() ? name : at.name.c_str(), flags);
    if (fd < 0) return fd;
    // A number that was closed is used again.
    std::lock_guard lock(mutex_);
    if (at.place != nullptr)
        opened_[fd] = at.place;
    else
        opened_.erase(fd);
    return fd;
}

ssize_t ReplacedFs::list(int directory, MutableByteView buffer) {
    return base_.list(directory, buffer);
}

int ReplacedFs::status(int directory, const char* name, int flags, struct statx& out) {
    const Where at = where(directory, name);
    const int error = base_.status(directory, at.name.empty() ? name : at.name.c_str(), flags, out);
    if (error < 0 || at.place == nullptr) return error;
    if (out.stx_dev_major == at.place->device_major &&
        out.stx_dev_minor == at.place->device_minor) {
        out.stx_dev_major = at.place->live_major;
        out.stx_dev_minor = at.place->live_minor;
    }
    return error;
}

// A snapshot cannot be written, and needs not be.
int ReplacedFs::sync_data(int fd) {
    const int error = base_.sync_data(fd);
    return error == -EROFS || error == -EINVAL ? 0 : error;
}

ssize_t ReplacedFs::read_link(int directory, const char* name, MutableByteView buffer) {
    const Where at = where(directory, name);
    return base_.read_link(directory, at.name.empty() ? name : at.name.c_str(), buffer);
}

ssize_t ReplacedFs::list_xattrs_at(int directory, const char* name, bool follow,
                                   MutableByteView buffer) {
    const Where at = where(directory, name);
    return base_.list_xattrs_at(directory, at.name.empty() ? name : at.name.c_str(), follow,
                                buffer);
}

ssize_t ReplacedFs::get_xattr_at(int directory, const char* name, bool follow, const char* xattr,
                                 MutableByteView buffer) {
    const Where at = where(directory, name);
    return base_.get_xattr_at(directory, at.name.empty() ? name : at.name.c_str(), follow, xattr,
                              buffer);
}

}  // namespace backup
