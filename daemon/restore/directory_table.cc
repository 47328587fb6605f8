#include "daemon/restore/directory_table.h"

#include <cerrno>
#include <vector>

#include <fcntl.h>

#include "common/path.h"

namespace backup {

namespace {
// Far below the usual limit of 1024 descriptors, and more than the threads of a restore use at
// once.
constexpr std::size_t kMostOpen = 192;
}  // namespace

DirectoryIndex DirectoryTable::add_target(std::string source_path) {
    std::lock_guard lock(mutex_);
    Record& record = records_.emplace_back();
    record.is_target = true;
    record.state = DirectoryState::existed;
    record.device = target_device_;
    record.found_mtime = target_mtime_;
    record.name = std::move(source_path);
    record.parent = static_cast<DirectoryIndex>(records_.size() - 1);
    return record.parent;
}

DirectoryIndex DirectoryTable::add(DirectoryIndex parent, std::string_view name) {
    std::lock_guard lock(mutex_);
    Record& record = records_.emplace_back();
    record.parent = parent;
    record.name = name;
    return static_cast<DirectoryIndex>(records_.size() - 1);
}

DirectoryState DirectoryTable::state(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].state;
}

void DirectoryTable::set_state(DirectoryIndex directory, DirectoryState state,
                               std::string landing_name) {
    std::lock_guard lock(mutex_);
    Record& record = records_[directory];
    record.state = state;
    if (!landing_name.empty())
        record.landing_name = std::make_unique<std::string>(std::move(landing_name));
}

const std::string& DirectoryTable::landing_name(const Record& record) const {
    return record.landing_name ? *record.landing_name : record.name;
}

std::string DirectoryTable::name(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return landing_name(records_[directory]);
}

DirectoryIndex DirectoryTable::parent(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].parent;
}

void DirectoryTable::set_device(DirectoryIndex directory, dev_t device) {
    std::lock_guard lock(mutex_);
    records_[directory].device = device;
}

dev_t DirectoryTable::device(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].device;
}

void DirectoryTable::set_hidden(DirectoryIndex directory, std::uint32_t batch) {
    std::lock_guard lock(mutex_);
    records_[directory].hidden_in = batch;
}

bool DirectoryTable::is_hidden(DirectoryIndex directory, std::uint32_t batch) const {
    std::lock_guard lock(mutex_);
    return records_[directory].hidden_in == batch;
}

void DirectoryTable::set_adopted(DirectoryIndex directory) {
    std::lock_guard lock(mutex_);
    records_[directory].is_adopted = true;
}

bool DirectoryTable::is_adopted(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].is_adopted;
}

int DirectoryTable::rename(DirectoryIndex directory, const std::string& to,
                           const std::function<int(const char* from, const char* to)>& rename) {
    std::lock_guard lock(mutex_);
    Record& record = records_[directory];
    if (const int rc = rename(landing_name(record).c_str(), to.c_str()); rc != 0) return rc;
    record.landing_name = std::make_unique<std::string>(to);
    ++renames_;
    return 0;
}

bool DirectoryTable::claim_cleaning(DirectoryIndex directory) {
    std::lock_guard lock(mutex_);
    Record& record = records_[directory];
    if (record.is_cleaned ||
        (record.state != DirectoryState::existed && record.state != DirectoryState::resumed))
        return false;
    return record.is_cleaned = true;
}

bool DirectoryTable::claim_unwritable(DirectoryIndex directory) {
    std::lock_guard lock(mutex_);
    return !std::exchange(records_[directory].is_unwritable, true);
}

bool DirectoryTable::is_unwritable(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].is_unwritable;
}

SharedFd DirectoryTable::cached(DirectoryIndex directory) {
    auto found = by_directory_.find(directory);
    if (found == by_directory_.end()) return nullptr;
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
}

void DirectoryTable::keep(DirectoryIndex directory, SharedFd fd) {
    if (by_directory_.contains(directory)) return;
    recent_.emplace_front(directory, std::move(fd));
    by_directory_[directory] = recent_.begin();
    if (recent_.size() <= kMostOpen) return;
    by_directory_.erase(recent_.back().first);
    recent_.pop_back();  // closed once its last user lets go
}

Result<SharedFd> DirectoryTable::open(DirectoryIndex directory) {
    for (;;) {
        std::uint64_t before = 0;
        {
            std::lock_guard lock(mutex_);
            before = renames_;
        }
        Result<SharedFd> opened = open_once(directory);
        if (opened.ok() || opened.error().os_error() != ENOENT) return opened;
        // A directory above may just have got its name.
        std::lock_guard lock(mutex_);
        if (renames_ == before) return opened;
    }
}

Result<SharedFd> DirectoryTable::open_once(DirectoryIndex directory) {
    // Up to the nearest ancestor that is open, then down again.
    std::vector<std::pair<DirectoryIndex, std::string>> missing;
    SharedFd at;
    {
        std::lock_guard lock(mutex_);
        for (DirectoryIndex up = directory;; up = records_[up].parent) {
            at = cached(up);
            if (at) break;
            const bool is_target = records_[up].is_target;
            missing.emplace_back(up, is_target ? "." : landing_name(records_[up]));
            if (is_target) break;
        }
    }
    for (auto down = missing.rbegin(); down != missing.rend(); ++down) {
        // A component at a time with O_NOFOLLOW and O_DIRECTORY: a symbolic link, planted before or
        // during the restore, ends the way instead of leading out of the target.
        UniqueFd fd(::openat(at ? at->get() : target_fd_, down->second.c_str(),
                             O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) return Error::from_errno(errno, "open directory " + printable(down->second));
        at = std::make_shared<const UniqueFd>(std::move(fd));
        std::lock_guard lock(mutex_);
        keep(down->first, at);
    }
    return at;
}

std::string DirectoryTable::source_path(DirectoryIndex directory) const {
    std::vector<DirectoryIndex> way;
    std::lock_guard lock(mutex_);
    DirectoryIndex up = directory;
    for (; !records_[up].is_target; up = records_[up].parent) way.push_back(up);
    std::string path = records_[up].name;
    for (auto down = way.rbegin(); down != way.rend(); ++down) {
        if (path.empty() || path.back() != '/') path += '/';
        path += records_[*down].name;
    }
    return path.empty() ? "/" : path;
}

std::string DirectoryTable::source_path(DirectoryIndex directory, std::string_view name) const {
    std::string path = source_path(directory);
    if (path.back() != '/') path += '/';
    path += name;
    return path;
}

std::string DirectoryTable::target_path(DirectoryIndex directory) const {
    std::vector<DirectoryIndex> way;
    std::lock_guard lock(mutex_);
    DirectoryIndex up = directory;
    for (; !records_[up].is_target; up = records_[up].parent) way.push_back(up);
    std::string path;
    for (auto down = way.rbegin(); down != way.rend(); ++down)
        path += "/" + landing_name(records_[*down]);
    return path.empty() ? "/" : path;
}

std::string DirectoryTable::target_path(DirectoryIndex directory, std::string_view name) const {
    std::string path = target_path(directory);
    if (path.back() != '/') path += '/';
    path += name;
    return path;
}

void DirectoryTable::set_found_mtime(DirectoryIndex directory, const timespec& mtime) {
    std::lock_guard lock(mutex_);
    records_[directory].found_mtime = mtime;
}

timespec DirectoryTable::found_mtime(DirectoryIndex directory) const {
    std::lock_guard lock(mutex_);
    return records_[directory].found_mtime;
}

std::optional<timespec> DirectoryTable::claim_found_mtime(DirectoryIndex directory) {
    std::lock_guard lock(mutex_);
    Record& record = records_[directory];
    const bool existed =
        record.state == DirectoryState::existed || record.state == DirectoryState::resumed;
    if (!existed || std::exchange(record.is_mtime_told, true)) return std::nullopt;
    return record.found_mtime;
}

}  // namespace backup
