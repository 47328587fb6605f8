#include "daemon/watch/census.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/unique_fd.h"
#include "daemon/watch/mount_table.h"

namespace backup {

namespace {

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;

Dir open_dir(int at, const char* name) {
    const int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = fd < 0 ? nullptr : fdopendir(fd);
    if (dir == nullptr && fd >= 0) close(fd);
    return {dir, closedir};
}

std::optional<std::string> read_text(int at, const char* name) {
    const UniqueFd file(openat(at, name, O_RDONLY | O_CLOEXEC));
    if (!file) return std::nullopt;
    std::string text;
    std::array<char, 16384> part;  // NOLINT: not zeroed
    for (;;) {
        const ssize_t got = read(file.get(), part.data(), part.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return std::nullopt;
        if (got == 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
}

std::optional<std::string> read_link(int at, const char* name) {
    char text[4096];  // not zeroed
    const ssize_t length = readlinkat(at, name, text, sizeof(text));
    if (length <= 0 || static_cast<std::size_t>(length) >= sizeof(text)) return std::nullopt;
    return std::string(text, static_cast<std::size_t>(length));
}

// From linux/fs.h of Linux 6.11: the kernel looks for the mappings that we want, and formats
// nothing.
struct MappingQuery {
    std::uint64_t size = sizeof(MappingQuery);
    std::uint64_t flags = kWritable | kShared | kFileBacked | kThisOrNext;
    std::uint64_t address = 0;
    std::uint64_t start = 0, end = 0, vma_flags = 0, page_size = 0, offset = 0, inode = 0;
    std::uint32_t device_major = 0, device_minor = 0;
    std::uint32_t name_size = 0, build_id_size = 0;
    std::uint64_t name = 0, build_id = 0;

    static constexpr std::uint64_t kWritable = 0x02, kShared = 0x08, kThisOrNext = 0x10,
                                   kFileBacked = 0x20;
};
static_assert(sizeof(MappingQuery) == 104);
constexpr unsigned long kQueryMapping = _IOWR('f', 17, MappingQuery);

std::string_view next_line(std::string_view& text) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
}

// Where a file lies that a process of another mount namespace (a container) knows as `path`: the
// place in its file system, seen through one of our mounts.
class Namespaces {
  public:
    // `path` itself if there is no other name for it.
    std::string ours(std::uint64_t mount_namespace, int process, const std::string& path) {
        auto found = theirs_.find(mount_namespace);
        if (found == theirs_.end()) {
            std::optional<MountTable> table;
            if (const auto text = read_text(process, "mountinfo"))
                if (auto parsed = MountTable::parse(*text); parsed.ok()) table = std::move(*parsed);
            found = theirs_.emplace(mount_namespace, std::move(table)).first;
        }
        if (!mine_)
            if (auto read = MountTable::read(); read.ok()) mine_ = std::move(*read);
        if (!found->second || !mine_) return path;
        const Mount* from = found->second->find(path);
        if (from == nullptr) return path;
        std::string inside = from->root == "/" ? "" : from->root;
        inside += path.substr(from->place == "/" ? 0 : from->place.size());
        for (const Mount& mount : mine_->mounts()) {
            const std::string& root = mount.root;
            if (mount.device != from->device) continue;
            if (root != "/" && (inside.compare(0, root.size(), root) != 0 ||
                                (inside.size() > root.size() && inside[root.size()] != '/')))
                continue;
            std::string place = mount.place == "/" ? "" : mount.place;
            place += inside.substr(root == "/" ? 0 : root.size());
            if (mine_->find(place) == &mount) return place;
        }
        return path;
    }

  private:
    std::optional<MountTable> mine_;
    std::map<std::uint64_t, std::optional<MountTable>> theirs_;
};

class Census {
  public:
    explicit Census(const CensusOptions& options) : options_(options) {}

    Result<CensusResult> take() {
        const Dir proc = open_dir(AT_FDCWD, options_.proc.c_str());
        if (proc == nullptr) return Error::from_errno(errno, "open " + options_.proc);
        const int proc_fd = dirfd(proc.get());
        own_namespace_ = namespace_of(proc_fd, "self/ns/mnt");
        while (const dirent* entry = readdir(proc.get())) {
            const std::string_view name(entry->d_name);
            std::int32_t pid = 0;
            const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
            if (error != std::errc() || end != name.data() + name.size()) continue;
            if (pid == options_.own_pid && pid != 0) continue;
            look_at_process(proc_fd, entry->d_name);
        }
        look_at_loops();
        for (auto& [identity, file] : files_) result_.files.push_back(std::move(file));
        std::ranges::sort(result_.files, {}, &HeldFile::path);
        return std::move(result_);
    }

  private:
    static std::uint64_t namespace_of(int at, const char* name) {
        struct stat status {};
        return fstatat(at, name, &status, 0) == 0 ? status.st_ino : 0;
    }

    void look_at_process(int proc, const char* pid) {
        const UniqueFd process(openat(proc, pid, O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!process) return;  // gone
        ++result_.processes;
        is_space_known_ = false;
        if (!look_at_descriptors(process.get())) {
            if (errno == EACCES || errno == EPERM) ++result_.processes_denied;
            return;
        }
        if (!query_mappings(process.get())) look_at_mappings(process.get());
    }

    // Of the process at hand. Most have nothing that makes the question worth a look.
    bool is_foreign(int process) {
        if (is_space_known_) return is_foreign_;
        is_space_known_ = true;
        namespace_ = namespace_of(process, "ns/mnt");
        is_foreign_ = namespace_ != 0 && own_namespace_ != 0 && namespace_ != own_namespace_;
        return is_foreign_;
    }

    bool look_at_descriptors(int process) {
        const Dir links = open_dir(process, "fd");
        if (links == nullptr) return false;
        const int at = dirfd(links.get());
        while (const dirent* entry = readdir(links.get())) {
            if (entry->d_name[0] == '.') continue;
            ++result_.descriptors;
            // The mode of the link itself says how the file was opened.
            struct stat link {};
            if (fstatat(at, entry->d_name, &link, AT_SYMLINK_NOFOLLOW) != 0 ||
                (link.st_mode & S_IWUSR) == 0)
                continue;
            const auto path = read_link(at, entry->d_name);
            if (path) add(process, *path, at, entry->d_name, false);
        }
        return true;
    }

    // False: this kernel cannot, or a path is too long for it.
    bool query_mappings(int process) {
        if (!can_query_) return false;
        const UniqueFd maps(openat(process, "maps", O_RDONLY | O_CLOEXEC));
        if (!maps) return true;  // nothing is told either way
        char path[4096];         // not zeroed
        MappingQuery query;
        for (;;) {
            query.name = reinterpret_cast<std::uintptr_t>(path);
            query.name_size = sizeof(path);
            if (ioctl(maps.get(), kQueryMapping, &query) != 0) {
                can_query_ = errno != ENOTTY && errno != EINVAL;
                return can_query_ && errno != ENAMETOOLONG;
            }
            std::array<char, 64> link{};
            std::snprintf(link.data(), link.size(), "map_files/%llx-%llx",
                          static_cast<unsigned long long>(query.start),
                          static_cast<unsigned long long>(query.end));
            if (query.name_size != 0) add(process, path, process, link.data(), true);
            query.address = query.end;
        }
    }

    // 7f5c8a000000-7f5c8a021000 rw-s 00000000 fe:00 1234      /path with spaces
    void look_at_mappings(int process) {
        const auto maps = read_text(process, "maps");
        if (!maps) return;
        std::set<std::string_view> seen;
        std::string_view rest(*maps);
        while (!rest.empty()) {
            const std::string_view line = next_line(rest);
            const auto space = line.find(' ');
            if (space == std::string_view::npos || line.size() < space + 5) continue;
            if (line[space + 2] != 'w' || line[space + 4] != 's') continue;
            const auto slash = line.find('/', space);
            if (slash == std::string_view::npos) continue;
            if (!seen.insert(line.substr(slash)).second) continue;
            const std::string link = "map_files/" + std::string(line.substr(0, space));
            add(process, unescape(line.substr(slash)), process, link.c_str(), true);
        }
    }

    // Only a newline is escaped there.
    static std::string unescape(std::string_view text) {
        std::string plain(text);
        for (auto at = plain.find("\\012"); at != std::string::npos;
             at = plain.find("\\012", at + 1))
            plain.replace(at, 4, "\n");
        return plain;
    }

    // `link` in `at` leads to the very file; without the right to follow it, its path must do.
    void add(int process, std::string path, int at, const char* link, bool is_mapped) {
        if (path.empty() || path[0] != '/') return;  // a pipe, a socket ...
        if (is_foreign(process)) path = spaces_.ours(namespace_, process, path);
        if (options_.wanted && !options_.wanted(path)) return;
        struct stat status {};
        if (fstatat(at, link, &status, 0) != 0 && stat(path.c_str(), &status) != 0) return;
        add(std::move(path), status, is_mapped);
    }

    void add(std::string path, const struct stat& status, bool is_mapped) {
        // Without a name it is in no tree any more.
        if (!S_ISREG(status.st_mode) || status.st_nlink == 0) return;
        HeldFile& file = files_[{status.st_dev, status.st_ino}];
        if (file.path.empty()) file = {std::move(path), status.st_dev, status.st_ino, false};
        file.is_mapped = file.is_mapped || is_mapped;
    }

    void look_at_loops() {
        const std::string block = options_.sys + "/block";
        const Dir devices = open_dir(AT_FDCWD, block.c_str());
        if (devices == nullptr) return;
        const int at = dirfd(devices.get());
        while (const dirent* entry = readdir(devices.get())) {
            const std::string name(entry->d_name);
            if (name.compare(0, 4, "loop") != 0) continue;
            auto path = read_text(at, (name + "/loop/backing_file").c_str());
            if (!path || path->empty()) continue;
            const auto read_only = read_text(at, (name + "/ro").c_str());
            if (read_only && read_only->compare(0, 1, "1") == 0) continue;
            if (path->back() == '\n') path->pop_back();
            if (options_.wanted && !options_.wanted(*path)) continue;
            struct stat status {};
            if (stat(path->c_str(), &status) == 0) add(std::move(*path), status, false);
        }
    }

    const CensusOptions& options_;
    CensusResult result_;
    std::map<std::pair<std::uint64_t, std::uint64_t>, HeldFile> files_;
    Namespaces spaces_;
    std::uint64_t own_namespace_ = 0, namespace_ = 0;
    bool is_foreign_ = false, is_space_known_ = false;
    bool can_query_ = true;
};

}  // namespace

Result<CensusResult> take_census(const CensusOptions& options) {
    return Census(options).take();
}

}  // namespace backup
