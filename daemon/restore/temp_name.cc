#include "daemon/restore/temp_name.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

constexpr std::string_view kPrefix = ".backupd-";
constexpr std::string_view kSuffix = ".tmp";

// machine 6, boot 6, process namespace 4, pid 6, start time 8 digits.
constexpr std::size_t kMachine = 6, kBoot = 6, kNamespace = 4, kPid = 6, kStart = 8;
constexpr std::size_t kContent = 16;
constexpr std::size_t kWho = kMachine + kBoot + kNamespace + kPid + kStart;

std::string read_text(const char* path) {
    UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    char buffer[1024];
    const ssize_t got = fd ? ::read(fd.get(), buffer, sizeof buffer) : -1;
    return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : std::string();
}

std::string digits(std::uint64_t value, std::size_t count) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return std::string(text + 16 - count, count);
}

// FNV-1a, 64 bit: a short name for a long identifier; not a defence.
std::uint64_t short_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (unsigned char byte : text) hash = (hash ^ byte) * 0x100000001b3;
    return hash ^ hash >> 32;
}

// Field 22 of /proc/PID/stat: clock ticks after boot. Nothing when there is no such process.
std::optional<std::uint64_t> start_time(std::uint64_t pid) {
    const std::string stat = read_text(("/proc/" + std::to_string(pid) + "/stat").c_str());
    std::size_t at = stat.rfind(')');  // the command may hold anything, also ')'
    if (at == stat.npos) return std::nullopt;
    for (int field = 2; field < 22; ++field) {
        at = stat.find(' ', at + 1);
        if (at == stat.npos) return std::nullopt;
    }
    return std::strtoull(stat.c_str() + at + 1, nullptr, 10);
}

// The part of the name that all processes of this boot and process namespace share.
struct Place {
    std::string machine, boot, name_space;
};

const Place& our_place() {
    static const Place place = [] {
        char link[64] = "";
        const ssize_t length = ::readlink("/proc/self/ns/pid", link, sizeof link);
        return Place{
            digits(short_hash(read_text("/etc/machine-id")), kMachine),
            digits(short_hash(read_text("/proc/sys/kernel/random/boot_id")), kBoot),
            digits(short_hash({link, static_cast<std::size_t>(std::max<ssize_t>(length, 0))}),
                   kNamespace)};
    }();
    return place;
}

std::string prefix_of(std::uint64_t pid) {
    const Place& place = our_place();
    return std::string(kPrefix) + place.machine + place.boot + place.name_space +
           digits(pid, kPid) + digits(start_time(pid).value_or(0), kStart) + "-";
}

bool is_hex(std::string_view text) {
    return std::ranges::all_of(
        text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

namespace {

std::string make_temp_name(std::string_view content) {
    static const std::string prefix = prefix_of(static_cast<std::uint64_t>(::getpid()));
    static std::atomic<std::uint64_t> next{0};
    char number[17];
    std::snprintf(number, sizeof number, "%llx",
                  static_cast<unsigned long long>(next.fetch_add(1, std::memory_order_relaxed)));
    return prefix + std::string(content) + number + std::string(kSuffix);
}

std::string_view number_in(std::string_view name) {
    return name.substr(kPrefix.size() + kWho + 1,
                       name.size() - kPrefix.size() - kWho - 1 - kSuffix.size());
}

}  // namespace

std::string next_temp_name() {
    return make_temp_name({});
}

std::string next_temp_name(std::uint64_t content) {
    return make_temp_name(digits(content, kContent));
}

std::optional<std::uint64_t> content_of_temp_name(std::string_view name) {
    if (!is_temp_name(name) || number_in(name).size() <= kContent) return std::nullopt;
    return std::strtoull(std::string(number_in(name).substr(0, kContent)).c_str(), nullptr, 16);
}

std::string temp_name_of_process(std::uint64_t pid) {
    return prefix_of(pid) + "0" + std::string(kSuffix);
}

bool is_temp_name(std::string_view name) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return false;
    if (name.size() < kPrefix.size() + kWho + 2 + kSuffix.size()) return false;
    const std::string_view number = name.substr(
        kPrefix.size() + kWho + 1, name.size() - kPrefix.size() - kWho - 1 - kSuffix.size());
    return is_hex(name.substr(kPrefix.size(), kWho)) && name[kPrefix.size() + kWho] == '-' &&
           is_hex(number);
}

bool is_left_over(std::string_view name) {
    if (!is_temp_name(name)) return false;
    std::string_view who = name.substr(kPrefix.size(), kWho);
    const auto take = [&who](std::size_t count) {
        const std::string_view part = who.substr(0, count);
        who.remove_prefix(count);
        return part;
    };
    const Place& place = our_place();
    if (take(kMachine) != place.machine) return false;
    if (take(kBoot) != place.boot) return true;
    if (take(kNamespace) != place.name_space) return false;
    const std::uint64_t pid = std::strtoull(std::string(take(kPid)).c_str(), nullptr, 16);
    const std::optional<std::uint64_t> started = start_time(pid);
    return !started || digits(*started, kStart) != take(kStart);
}

namespace {

std::vector<std::string> leftovers_in(int directory_fd) {
    std::vector<std::string> names;
    UniqueFd fd(::openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return names;
    std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(fd.get()), &::closedir);
    if (!list) return names;
    fd.release();  // the list owns it
    while (const dirent* entry = ::readdir(list.get()))
        if (is_left_over(entry->d_name)) names.emplace_back(entry->d_name);
    return names;
}

}  // namespace

bool remove_leftover(int directory_fd, const std::string& name) {
    struct stat status {};
    if (::fstatat(directory_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return false;
    // Files have their new owner already, directories only once they have their name.
    const bool is_ours = status.st_uid == ::geteuid();
    if (S_ISDIR(status.st_mode)) return is_ours && remove_tree(directory_fd, name);
    return (is_ours || ::geteuid() == 0) && ::unlinkat(directory_fd, name.c_str(), 0) == 0;
}

std::uint64_t remove_leftovers(int directory_fd, bool but_resumable) {
    std::uint64_t removed = 0;
    for (const std::string& name : leftovers_in(directory_fd)) {
        if (but_resumable && content_of_temp_name(name)) continue;
        if (remove_leftover(directory_fd, name)) ++removed;
    }
    return removed;
}

std::vector<std::string> resumable_leftovers(int directory_fd) {
    std::vector<std::string> names = leftovers_in(directory_fd);
    std::erase_if(names, [](const std::string& name) { return !content_of_temp_name(name); });
    return names;
}

bool remove_tree(int parent_fd, const std::string& name) {
    // A directory that is not empty moves up and waits for its turn under a name of its own: so
    // neither the stack nor descriptors limit the depth, and what a crash leaves is left over as
    // before.
    std::vector<std::string> left{name};
    bool is_complete = true;
    while (!left.empty()) {
        const std::string next = std::move(left.back());
        left.pop_back();
        UniqueFd fd(
            ::openat(parent_fd, next.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        struct stat above {
        }, status{};
        if (!fd || ::fstat(parent_fd, &above) != 0 || ::fstat(fd.get(), &status) != 0 ||
            above.st_dev != status.st_dev) {
            is_complete = false;
            continue;
        }
        std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(::dup(fd.get())), &::closedir);
        if (!list) return false;
        while (const dirent* entry = ::readdir(list.get())) {
            const std::string_view inner = entry->d_name;
            if (inner == "." || inner == "..") continue;
            if (::unlinkat(fd.get(), entry->d_name, 0) == 0) continue;
            if (errno != EISDIR && errno != EPERM) {
                is_complete = false;
                continue;
            }
            if (::unlinkat(fd.get(), entry->d_name, AT_REMOVEDIR) == 0) continue;
            std::string moved = next_temp_name();
            if (::renameat(fd.get(), entry->d_name, parent_fd, moved.c_str()) == 0)
                left.push_back(std::move(moved));
            else
                is_complete = false;
        }
        if (::unlinkat(parent_fd, next.c_str(), AT_REMOVEDIR) != 0) is_complete = false;
    }
    return is_complete;
}

}  // namespace backup
