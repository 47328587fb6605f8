#include "daemon/watch/mount_table.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include <sys/sysmacros.h>

namespace backup {

namespace {

std::string_view next_word(std::string_view& line) {
    const auto begin = line.find_first_not_of(' ');
    if (begin == std::string_view::npos) return line = {};
    line.remove_prefix(begin);
    const auto end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(end);
    return word;
}

// "\040" and the like; the kernel escapes space, tab, newline, '#' and the backslash itself.
std::string unescape(std::string_view text) {
    std::string plain;
    plain.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto digit = [&](std::size_t at) {
            return text[i + at] >= '0' && text[i + at] < '8';
        };
        if (text[i] == '\\' && i + 3 < text.size() && digit(1) && digit(2) && digit(3)) {
            plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
                                       (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

template <typename T>
bool read_number(std::string_view text, T& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

bool has_option(std::string_view options, std::string_view wanted) {
    while (!options.empty()) {
        const auto end = std::min(options.find(','), options.size());
        if (options.substr(0, end) == wanted) return true;
        options.remove_prefix(std::min(end + 1, options.size()));
    }
    return false;
}

// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
// id parent device root place options optional... - type source super-options
bool parse_line(std::string_view line, Mount& mount) {
    if (!read_number(next_word(line), mount.id) || !read_number(next_word(line), mount.parent))
        return false;
    const std::string_view device = next_word(line);
    const auto colon = device.find(':');
    unsigned major_number = 0, minor_number = 0;
    if (colon == std::string_view::npos || !read_number(device.substr(0, colon), major_number) ||
        !read_number(device.substr(colon + 1), minor_number))
        return false;
    mount.device = makedev(major_number, minor_number);
    mount.root = unescape(next_word(line));
    mount.place = unescape(next_word(line));
    const std::string_view options = next_word(line);
    if (mount.place.empty() || mount.place.front() != '/') return false;
    std::string_view word;
    do {
        word = next_word(line);
    } while (!word.empty() && word != "-");
    if (word.empty()) return false;
    mount.type = unescape(next_word(line));
    if (mount.type.empty()) return false;
    // The source may be empty: two spaces, and then only the options are left.
    if (line.substr(0, 2) != "  ") mount.source = unescape(next_word(line));
    mount.super_options = unescape(next_word(line));
    mount.read_only = has_option(options, "ro") || has_option(mount.super_options, "ro");
    return true;
}

bool is_at_or_below(std::string_view path, std::string_view place) {
    if (place == "/") return true;
    return path.substr(0, place.size()) == place &&
           (path.size() == place.size() || path[place.size()] == '/');
}

}  // namespace

VolumeClass volume_class(std::string_view type) {
    static constexpr std::array<std::string_view, 12> kRemote{"nfs",   "nfs4",  "cifs", "smb3",
                                                              "smbfs", "9p",    "ceph", "afs",
                                                              "gfs2",  "ocfs2", "coda", "virtiofs"};
    static constexpr std::array<std::string_view, 25> kPseudo{
        "proc",     "sysfs",   "devtmpfs",  "devpts",      "cgroup",     "cgroup2", "securityfs",
        "debugfs",  "tracefs", "pstore",    "efivarfs",    "bpf",        "mqueue",  "hugetlbfs",
        "configfs", "autofs",  "selinuxfs", "binfmt_misc", "rpc_pipefs", "nsfs",    "fusectl",
        "nfsd",     "sockfs",  "pipefs",    "resctrl"};
    if (std::ranges::find(kRemote, type) != kRemote.end()) return VolumeClass::remote;
    if (std::ranges::find(kPseudo, type) != kPseudo.end()) return VolumeClass::pseudo;
    if (type == "overlay") return VolumeClass::overlay;
    // fuseblk is FUSE, too; "fuse.sshfs" tells the program.
    if (type.substr(0, 4) == "fuse") return VolumeClass::fuse;
    return VolumeClass::local;
}

Result<MountTable> MountTable::read() {
    std::ifstream file("/proc/self/mountinfo", std::ios::binary);
    if (!file) return Error::from_errno(errno, "open /proc/self/mountinfo");
    std::ostringstream text;
    text << file.rdbuf();
    if (file.bad()) return Error(ErrorKind::io, "read /proc/self/mountinfo");
    return parse(text.str());
}

Result<MountTable> MountTable::parse(std::string_view mountinfo) {
    MountTable table;
    while (!mountinfo.empty()) {
        const auto end = std::min(mountinfo.find('\n'), mountinfo.size());
        const std::string_view line = mountinfo.substr(0, end);
        mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
        if (line.empty()) continue;
        Mount mount;
        if (!parse_line(line, mount))
            return Error(ErrorKind::corrupt,
                         "a line of the mount table that is not understood: " + printable(line));
        table.mounts_.push_back(std::move(mount));
    }
    table.drop_repeated();
    return table;
}

// What the service manager makes read-only for us, or leaves writable, it mounts over itself.
void MountTable::drop_repeated() {
    for (std::size_t i = 0; i < mounts_.size();) {
        const Mount mount = mounts_[i];
        const auto above = std::ranges::find_if(mounts_, [&](const Mount& other) {
            return other.id == mount.parent && other.id != mount.id;
        });
        const auto joined = [](const std::string& directory, std::string_view below) {
            if (below.empty()) return directory;
            return (directory == "/" ? std::string() : directory) + std::string(below);
        };
        const bool is_repeated =
            above != mounts_.end() && above->device == mount.device && above->type == mount.type &&
            is_at_or_below(mount.place, above->place) &&
            mount.root ==
                joined(above->root, std::string_view(mount.place)
                                        .substr(above->place == "/" ? 0 : above->place.size()));
        if (!is_repeated || mount.place == "/") {
            ++i;
            continue;
        }
        for (Mount& other : mounts_)
            if (other.parent == mount.id) other.parent = mount.parent;
        mounts_.erase(mounts_.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

// As the kernel walks: from the topmost root, on each mount to the first mount point on the way
// that lies on it. So what is hidden under another mount is never found, and of stacked mounts the
// topmost is.
const Mount* MountTable::find(std::string_view path) const {
    const Mount* at = nullptr;
    for (const Mount& mount : mounts_) {
        if (mount.place != "/") continue;
        const bool has_parent = std::ranges::any_of(mounts_, [&](const Mount& other) {
            return other.id == mount.parent && other.id != mount.id;
        });
        if (!has_parent || at == nullptr) at = &mount;
    }
    if (at == nullptr) {  // a table without a root, as in some containers
        for (const Mount& mount : mounts_)
            if (is_at_or_below(path, mount.place) &&
                (at == nullptr || mount.place.size() >= at->place.size()))
                at = &mount;
        return at;
    }
    for (std::size_t steps = 0; steps < mounts_.size(); ++steps) {
        const Mount* next = nullptr;
        for (const Mount& mount : mounts_)
            if (mount.parent == at->id && mount.id != at->id && is_at_or_below(path, mount.place) &&
                (next == nullptr || mount.place.size() <= next->place.size()))
                next = &mount;
        if (next == nullptr) break;
        at = next;
    }
    return at;
}

std::vector<const Mount*> MountTable::below(std::string_view path) const {
    std::vector<const Mount*> found;
    for (const Mount& mount : mounts_)
        if (mount.place.size() > path.size() && is_at_or_below(mount.place, path) &&
            find(mount.place) == &mount)
            found.push_back(&mount);
    return found;
}

}  // namespace backup
