#include "tests/support/watch_mirror.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/path.h"

namespace backup {

WatchMirror::WatchMirror(Watcher& watcher, std::string root)
    : watcher_(watcher), root_(std::move(root)) {}

UniqueFd WatchMirror::open_directory(const ObjectHandle& handle) const {
    for (int tries = 0; tries < 100; ++tries) {
        const auto path = watcher_.path_of(handle);
        if (!path) break;
        UniqueFd directory(open(path->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!directory) continue;
        const auto found = handle_of(directory.get(), "");
        if (found.ok() && *found == handle) return directory;
    }
    return {};
}

bool WatchMirror::look(int directory, const std::string& name, Entry& entry) {
    struct stat status {};
    if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    entry = {};
    entry.inode = status.st_ino;
    if (!S_ISDIR(status.st_mode)) {
        entry.size = static_cast<std::uint64_t>(status.st_size);
        entry.changed = status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec;
        return true;
    }
    // Stamps of a directory follow from the names in it.
    const auto handle = handle_of(directory, name.c_str());
    if (!handle.ok()) return false;
    entry.directory = *handle;
    return true;
}

bool WatchMirror::list(int directory, Entries& entries) {
    const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = copy < 0 ? nullptr : fdopendir(copy);
    if (dir == nullptr) return false;
    while (const dirent* one = readdir(dir)) {
        const std::string name(one->d_name);
        Entry entry;
        if (name != "." && name != ".." && look(directory, name, entry)) entries[name] = entry;
    }
    closedir(dir);
    return true;
}

void WatchMirror::scan() {
    directories_.clear();
    look_at_all(AT_FDCWD, root_);
}

void WatchMirror::list_one(int directory, bool deep) {
    const auto handle = handle_of(directory, "");
    Entries entries;
    if (!handle.ok() || !list(directory, entries)) return;
    directories_[*handle] = entries;
    for (const auto& [name, entry] : entries)
        if (!entry.directory.empty() && (deep || !directories_.contains(entry.directory)))
            look_at_all(directory, name);
}

void WatchMirror::look_at_all(int parent, const std::string& name) {
    const UniqueFd directory(
        openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory) list_one(directory.get(), true);
}

void WatchMirror::look_at_name(const ObjectHandle& handle, const std::string& name) {
    const UniqueFd directory = open_directory(handle);
    if (!directory) return;
    Entry entry;
    Entries& entries = directories_[handle];
    if (!look(directory.get(), name, entry)) {
        entries.erase(name);
        return;
    }
    entries[name] = entry;
    // One that is not known is new: everything in it is.
    if (!entry.directory.empty() && !directories_.contains(entry.directory))
        look_at_all(directory.get(), name);
}

void WatchMirror::apply(const WatchBatch& batch) {
    if (!batch.lost.empty()) scan();
    using Kind = WatchBatch::DirectoryMove::Kind;
    for (const auto& move : batch.moves) {
        // A directory that was made: all in it has records of its own.
        if (move.kind == Kind::born && !move.object.empty()) directories_.try_emplace(move.object);
        if (move.kind != Kind::arrived) continue;
        if (const UniqueFd directory = open_directory(move.to_directory))
            look_at_all(directory.get(), move.to_name);
        if (move.object.empty()) continue;
        if (const UniqueFd itself = open_directory(move.object)) list_one(itself.get(), true);
    }
    for (const auto& name : batch.names) look_at_name(name.directory, name.name);
    for (const ObjectHandle& handle : batch.relist)
        if (const UniqueFd directory = open_directory(handle)) list_one(directory.get(), false);
}

std::vector<std::string> WatchMirror::differences() const {
    std::vector<std::string> found;
    std::vector<std::string> to_do{root_};
    while (!to_do.empty()) {
        const std::string path = to_do.back();
        to_do.pop_back();
        const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const auto handle = handle_of(directory.get(), "");
        Entries now;
        if (!directory || !handle.ok() || !list(directory.get(), now)) {
            found.push_back("cannot list " + path);
            continue;
        }
        const auto known = directories_.find(*handle);
        if (known == directories_.end()) {
            found.push_back("unknown directory " + path);
            continue;
        }
        for (const auto& [name, entry] : now) {
            const auto was = known->second.find(name);
            if (was == known->second.end())
                found.push_back("missed " + printable(path + "/" + name));
            else if (!(was->second == entry))
                found.push_back("stale " + printable(path + "/" + name));
            if (!entry.directory.empty()) to_do.push_back(path + "/" + name);
        }
        for (const auto& [name, entry] : known->second)
            if (!now.contains(name)) found.push_back("still there " + printable(path + "/" + name));
    }
    return found;
}

}  // namespace backup
