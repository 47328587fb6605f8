#include "daemon/restore/removal.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/failpoint.h"
#include "common/path.h"
#include "common/unique_fd.h"
#include "daemon/restore/temp_name.h"

namespace backup {

namespace {

// Deeper than that nothing is removed: every level holds a descriptor.
constexpr unsigned kDeepest = 400;

std::string child_of(const std::string& path, std::string_view name) {
    std::string child = path;
    if (child.empty() || child.back() != '/') child += '/';
    return child.append(name);
}

std::optional<std::uint64_t> mount_of(int directory_fd) {
    struct statx status {};
    if (::statx(directory_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0 ||
        (status.stx_mask & STATX_MNT_ID) == 0)
        return std::nullopt;
    return status.stx_mnt_id;
}

Result<std::vector<std::string>> entries_of(int directory_fd) {
    UniqueFd fd(::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "list the directory");
    std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(fd.get()), &::closedir);
    if (!list) return Error::from_errno(errno, "list the directory");
    fd.release();  // the list owns it
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(list.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return Error::from_errno(errno, "list the directory");
    std::ranges::sort(names);
    return names;
}

// 0 or errno.
int remove_one(int parent_fd, const char* name, bool is_directory) {
    return ::unlinkat(parent_fd, name, is_directory ? AT_REMOVEDIR : 0) == 0 ? 0 : errno;
}

// What a restore that was cut off left in it is nobody's.
bool remove_leftovers_in(int parent_fd, const char* name) {
    UniqueFd fd(::openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return fd && remove_leftovers(fd.get()) > 0;
}

}  // namespace

bool is_on_same_mount(int directory_fd, int other_fd) {
    struct stat status {
    }, other{};
    return ::fstat(directory_fd, &status) == 0 && ::fstat(other_fd, &other) == 0 &&
           status.st_dev == other.st_dev && mount_of(directory_fd) == mount_of(other_fd);
}

Result<> Removal::add_others(int directory_fd, const std::string& path, const std::string& source,
                             std::vector<std::string> names, PlanRecord& record) {
    std::ranges::sort(names);
    struct stat status {};
    if (::fstat(directory_fd, &status) != 0)
        return Error::from_errno(errno, "look at the directory");
    for (const std::string& name : TRY(entries_of(directory_fd))) {
        if (std::ranges::binary_search(names, name) || is_temp_name(name)) continue;
        add_tree(directory_fd, name, {child_of(path, name), child_of(source, name)}, status.st_dev,
                 0, true, record);
    }
    return {};
}

Result<> Removal::add_named(const std::vector<TouchedObject>& objects, PlanRecord& record) {
    std::vector<TouchedObject> sorted = objects;
    // Children before their directories.
    std::ranges::sort(sorted, std::ranges::greater(), &TouchedObject::path);
    for (const TouchedObject& object : sorted) {
        auto parent = open_parent(object.path);
        if (!parent.ok()) continue;  // gone with its directory
        const std::string name = object.path.substr(object.path.rfind('/') + 1);
        struct stat status {};
        if (::fstatat(parent->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
            S_ISDIR(status.st_mode) != object.is_directory)
            continue;
        doom(object.path, status, record);
    }
    return {};
}

bool Removal::clear_way(int parent_fd, const std::string& name, const std::string& path,
                        const std::string& source, PlanRecord& record) {
    struct stat status {};
    if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    const std::size_t before = doomed_.size();
    const auto known = index_.find(path);
    const bool was_named = known != index_.end();
    if (was_named) {
        // It was to go: now it gives way to something else, after all that is in it.
        doomed_[known->second].is_cancelled = true;
        ++cancelled_;
        index_.erase(known);
    } else if (!spares_ ||
               !add_tree(parent_fd, name, {path, source}, status.st_dev, 0, false, record)) {
        return false;
    }
    const std::string below = path + "/";
    for (std::size_t i = was_named ? 0 : before; i < doomed_.size(); ++i)
        if (doomed_[i].path.starts_with(below)) doomed_[i].is_first = true;
    return true;
}

void Removal::keep(const std::string& path) {
    const auto known = index_.find(path);
    if (known == index_.end()) return;
    doomed_[known->second].is_cancelled = true;
    ++cancelled_;
    index_.erase(known);
}

void Removal::keep_beside(const std::string& path) {
    keep(path);
    kept_.insert(path);
}

void Removal::doom(std::string path, const struct stat& status, PlanRecord& record) {
    if (!index_.emplace(path, doomed_.size()).second) return;
    record.remove(path, status);
    doomed_.push_back({std::move(path), S_ISDIR(status.st_mode)});
}

bool Removal::add_tree(int parent_fd, const std::string& name, Place place, dev_t device,
                       unsigned depth, bool itself, PlanRecord& record) {
    const auto spare = [&] {
        ++spared_;
        return false;
    };
    struct stat status {};
    if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT;
    if (kept_.contains(place.path)) return false;
    const bool is_directory = S_ISDIR(status.st_mode);
    // A socket could not be given back.
    if (status.st_dev != device || S_ISSOCK(status.st_mode) || depth > kDeepest ||
        place.path.size() > longest_path_)
        return spare();
    if (spares_ && spares_(place.source, place.path, is_directory)) return spare();
    if (is_directory) {
        UniqueFd fd(
            ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct stat opened {};
        if (!fd || ::fstat(fd.get(), &opened) != 0 || opened.st_ino != status.st_ino ||
            opened.st_dev != device || !is_on_same_mount(parent_fd, fd.get()))
            return spare();
        auto names = entries_of(fd.get());
        if (!names.ok()) return spare();
        bool all = true;
        for (const std::string& entry : *names)
            all &= add_tree(fd.get(), entry,
                            {child_of(place.path, entry), child_of(place.source, entry)}, device,
                            depth + 1, true, record);
        if (!all) return false;
    }
    if (itself) doom(std::move(place.path), status, record);
    return true;
}

Result<UniqueFd> Removal::open_parent(const std::string& path) const {
    UniqueFd at(::openat(target_fd_, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!at) return Error::from_errno(errno, "open the target");
    std::size_t begin = 1;
    for (std::size_t end; (end = path.find('/', begin)) != path.npos; begin = end + 1) {
        const std::string name = path.substr(begin, end - begin);
        UniqueFd next(
            ::openat(at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next) return Error::from_errno(errno, "open directory " + printable(name));
        at = std::move(next);
    }
    return at;
}

void Removal::set_aside(const Doomed& one, const char* why, const Run& run,
                        Outcome& outcome) const {
    ++outcome.set_aside;
    run.exceptions.add(one.path, Error(ErrorKind::conflict, ErrorCode::conflict, why));
}

// Before the first of them goes.
Result<> Removal::tell(bool first, const Run& run) const {
    if (run.change_log == nullptr) return {};
    std::string told;
    for (const Doomed& one : doomed_) {
        if (one.is_first != first || one.is_cancelled) continue;
        const std::size_t slash = one.path.rfind('/');
        std::string directory = slash == 0 ? "/" : one.path.substr(0, slash);
        if (directory == told) continue;
        auto parent = open_parent(one.path);
        struct stat status {};
        if (parent.ok() && ::fstat(parent->get(), &status) == 0)
            run.change_log->will_change_entries(directory, status.st_mtim);
        told = std::move(directory);
    }
    return run.change_log->sync();
}

Result<> Removal::carry_out(bool first, const Run& run, Outcome& outcome) {
    TRY(tell(first, run));
    std::string open_path;
    UniqueFd parent;
    struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    const auto give_times_back = [&] {
        if (parent && run.keeps_times)
            (void)::utimensat(parent.get(), ".", times, AT_SYMLINK_NOFOLLOW);
    };
    for (const Doomed& one : doomed_) {
        if (one.is_first != first || one.is_cancelled) continue;
        if (run.stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        const std::size_t slash = one.path.rfind('/');
        const std::string directory = one.path.substr(0, slash + 1);
        const std::string name = one.path.substr(slash + 1);
        if (!parent || directory != open_path) {
            auto opened = open_parent(one.path);
            if (!opened.ok()) {
                if (opened.error().os_error() != ENOENT)
                    set_aside(one, "its directory was replaced since: it stays", run, outcome);
                continue;
            }
            give_times_back();
            parent = std::move(*opened);
            open_path = directory;
            struct stat above {};
            if (::fstat(parent.get(), &above) == 0) times[1] = above.st_mtim;
        }
        struct stat status {};
        if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!run.stamps.is_same(one.path, status) || run.unsettled.contains(one.path)) {
            set_aside(one, "it changed since the restore was planned: it stays", run, outcome);
            continue;
        }
        if (S_ISREG(status.st_mode) && is_open_for_writing(parent.get(), name.c_str())) {
            set_aside(one, "another program has it open for writing: it stays", run, outcome);
            continue;
        }
        if (failpoint("restore.remove")) return Error(ErrorKind::io, "failpoint restore.remove");
        int error_number = remove_one(parent.get(), name.c_str(), one.is_directory);
        if (error_number == ENOTEMPTY && remove_leftovers_in(parent.get(), name.c_str()))
            error_number = remove_one(parent.get(), name.c_str(), one.is_directory);
        if (error_number == 0) {
            ++outcome.removed;
            continue;
        }
        if (error_number == ENOTEMPTY || error_number == EEXIST)
            set_aside(one, "something new is in it: it stays", run, outcome);
        else if (error_number != ENOENT)
            run.exceptions.add(one.path, Error::from_errno(error_number, "remove"));
    }
    give_times_back();
    return {};
}

}  // namespace backup
