#include "daemon/restore/metadata.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/path.h"
#include "daemon/restore/plan_record.h"

namespace backup {

namespace {

// Through /proc a descriptor that was opened with O_PATH can be used where the kernel wants a path:
// it leads to exactly this object, also when that is a symbolic link.
class ProcPath {
  public:
    explicit ProcPath(int fd) { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }
    const char* c_str() const { return text_; }

  private:
    char text_[32];
};

bool is_open_for_calls(NodeType type) {
    return type == NodeType::file || type == NodeType::dir;
}

std::vector<std::string> attribute_names(int fd, bool by_fd) {
    char small[1024];
    const ProcPath path(fd);
    const auto list = [&](char* to, std::size_t size) {
        return by_fd ? ::flistxattr(fd, to, size) : ::listxattr(path.c_str(), to, size);
    };
    std::string names;
    ssize_t length = list(small, sizeof small);
    if (length > 0) {
        names.assign(small, static_cast<std::size_t>(length));
    } else if (length < 0 && errno == ERANGE) {
        names.resize(65'536);  // XATTR_LIST_MAX
        length = list(names.data(), names.size());
        names.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    }
    std::vector<std::string> result;
    for (std::size_t at = 0; at < names.size(); at += result.back().size() + 1)
        result.emplace_back(names.c_str() + at);
    return result;
}

// Only these are ours to compare and to remove: labels of security modules and the like belong to
// the target.
bool is_managed(std::string_view name) {
    return name.starts_with("user.") || name.starts_with("trusted.") ||
           name.starts_with("system.posix_acl_") || name == "security.capability";
}

constexpr char kAsRootOnly[] = ": as root only (--as-root)";

bool is_left_off(std::string_view name, const RestoreBatch& batch) {
    return batch.leaves_privileges &&
           (name.starts_with("security.") || name.starts_with("trusted."));
}

// Setgid of a directory says whose group new files get, and gives nobody anything.
mode_t bits_left_off(NodeType type, const RestoreBatch& batch) {
    return batch.leaves_privileges && type != NodeType::dir ? S_ISUID | S_ISGID : 0;
}

bool is_wanted(std::string_view name, const PlanMetadata& metadata, const RestoreBatch& batch) {
    for (std::uint32_t i = 0; i < metadata.attribute_count; ++i)
        if (batch.text(batch.attributes[metadata.first_attribute + i].name) == name) return true;
    return false;
}

bool has_attributes(int fd, const PlanMetadata& metadata, const RestoreBatch& batch) {
    const ProcPath path(fd);
    for (const std::string& name : attribute_names(fd, false))
        if (is_managed(name) && !is_left_off(name, batch) && !is_wanted(name, metadata, batch))
            return false;
    std::string value;
    for (std::uint32_t i = 0; i < metadata.attribute_count; ++i) {
        const PlanAttribute& attribute = batch.attributes[metadata.first_attribute + i];
        const std::string name(batch.text(attribute.name));
        if (!is_managed(name) || is_left_off(name, batch)) continue;
        // Attributes that only a privileged process sees cannot be compared by another.
        if (name.starts_with("trusted.") && !may_change_owner()) continue;
        value.resize(attribute.value.length + 1);
        const ssize_t got = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
        if (got < 0 || batch.text(attribute.value) !=
                           std::string_view(value).substr(0, static_cast<std::size_t>(got)))
            return false;
    }
    return true;
}

timespec to_timespec(FileTime time) {
    return {static_cast<time_t>(time.seconds), static_cast<long>(time.nanoseconds)};
}

// What the kernel holds for certain on every usual file system; times outside are read back.
bool is_ordinary(FileTime time) {
    return time.seconds >= 0 && time.seconds < INT32_MAX;
}

struct Setter {
    int fd;
    NodeType type;
    const PlanMetadata& metadata;
    const RestoreBatch& batch;
    const std::function<std::string()>& path;
    MetadataProblems& problems;

    void fail(const std::string& what, int error_number) const {
        problems.add(path(), what, error_number);
    }

    void owner() const {
        // As it is already, mostly: asking is cheaper than a change that the journal has to hold.
        struct stat status {};
        if (::fstat(fd, &status) == 0 && status.st_uid == metadata.uid &&
            status.st_gid == metadata.gid)
            return;
        if (::fchownat(fd, "", metadata.uid, metadata.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ==
            0)
            return;
        const int first_error = errno;
        // The group alone may be ours to give.
        (void)!::fchownat(fd, "", static_cast<uid_t>(-1), metadata.gid,
                          AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
        fail("owner", first_error);
    }

    void attributes() const {
        const bool by_fd = is_open_for_calls(type);
        const ProcPath proc(fd);
        for (const std::string& name : attribute_names(fd, by_fd)) {
            if (!is_managed(name) || is_left_off(name, batch) || is_wanted(name, metadata, batch))
                continue;
            const int rc = by_fd ? ::fremovexattr(fd, name.c_str())
                                 : ::removexattr(proc.c_str(), name.c_str());
            if (rc != 0 && errno != ENODATA)
                fail("removal of extended attribute " + printable(name), errno);
        }
        for (std::uint32_t i = 0; i < metadata.attribute_count; ++i) {
            const PlanAttribute& attribute = batch.attributes[metadata.first_attribute + i];
            const std::string name(batch.text(attribute.name));
            const std::string_view value = batch.text(attribute.value);
            if (is_left_off(name, batch)) {
                fail("extended attribute " + printable(name.substr(0, 255)) + kAsRootOnly, EPERM);
                continue;
            }
            const int rc =
                by_fd ? ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0)
                      : ::setxattr(proc.c_str(), name.c_str(), value.data(), value.size(), 0);
            if (rc != 0) fail("extended attribute " + printable(name.substr(0, 255)), errno);
        }
    }

    void times() const {
        const timespec both[2] = {to_timespec(metadata.atime), to_timespec(metadata.mtime)};
        const int rc = is_open_for_calls(type) ? ::futimens(fd, both)
                                               : ::utimensat(fd, "", both, AT_EMPTY_PATH);
        if (rc != 0) return fail("times", errno);
        if (is_ordinary(metadata.mtime)) return;
        struct stat status {};
        if (::fstat(fd, &status) == 0 && status.st_mtim.tv_sec != both[1].tv_sec)
            fail("times: out of the range of the file system", ERANGE);
    }

    void mode() const {
        if (type == NodeType::symlink) return;
        mode_t bits = metadata.mode & ~bits_left_off(type, batch);
        if (bits != metadata.mode) fail(std::string("setuid or setgid") + kAsRootOnly, EPERM);
        if ((bits & (S_ISUID | S_ISGID)) != 0) {
            struct stat status {};
            if (::fstat(fd, &status) != 0) return fail("mode", errno);
            // Somebody else's setuid program must not become ours.
            if (status.st_uid != metadata.uid) bits &= ~static_cast<mode_t>(S_ISUID);
            if (status.st_gid != metadata.gid && type != NodeType::dir)
                bits &= ~static_cast<mode_t>(S_ISGID);
            if (bits != metadata.mode) fail("setuid or setgid: the owner could not be set", EPERM);
        }
        const int rc =
            is_open_for_calls(type) ? ::fchmod(fd, bits) : ::chmod(ProcPath(fd).c_str(), bits);
        if (rc != 0) fail("mode", errno);
    }
};

}  // namespace

void MetadataProblems::add(const std::string& path, const std::string& what, int error_number) {
    switch (error_number) {
        case EPERM:
        case EACCES:
        case ENOTSUP:
        case EINVAL:
            break;
        default:
            exceptions_.add(path, Error::from_errno(error_number, "set " + what));
            return;
    }
    std::lock_guard lock(mutex_);
    First& first = counted_[{what, error_number}];
    if (first.count++ == 0) first.path = path;
}

void MetadataProblems::report() {
    std::lock_guard lock(mutex_);
    for (const auto& [key, first] : counted_) {
        std::string what = "set " + key.first;
        if (first.count > 1)
            what += " (here and on " + std::to_string(first.count - 1) + " others)";
        exceptions_.add(first.path, Error::from_errno(key.second, what));
    }
    counted_.clear();
}

bool may_change_owner() {
    return ::geteuid() == 0;
}

AttributeSupport attribute_support(int directory_fd) {
    const ProcPath path(directory_fd);
    const auto takes = [&](const char* name) {
        return ::getxattr(path.c_str(), name, nullptr, 0) >= 0 || errno != ENOTSUP;
    };
    return {takes(kUnfinished), takes("system.posix_acl_access")};
}

void note_limits(NodeType type, const PlanMetadata& metadata, const RestoreBatch& batch,
                 const AttributeSupport& support, PlanRecord& record) {
    const bool is_root = may_change_owner();
    const bool is_foreign = metadata.uid != ::geteuid();
    if (!is_root && is_foreign) record.cannot_hold("owner");
    if ((metadata.mode & bits_left_off(type, batch)) != 0)
        record.cannot_hold("setuid and setgid, as root only");
    else if (!is_root && is_foreign && (metadata.mode & 06000) != 0)
        record.cannot_hold("setuid and setgid without the owner");
    if (!is_root && (type == NodeType::dev || type == NodeType::chardev))
        record.cannot_hold("device nodes");
    for (std::uint32_t i = 0; i < metadata.attribute_count; ++i) {
        const std::string_view name =
            batch.text(batch.attributes[metadata.first_attribute + i].name);
        if (name.starts_with("user.") && !support.user)
            record.cannot_hold("user attributes");
        else if (name.starts_with("system.posix_acl_") && !support.acl)
            record.cannot_hold("access control lists");
        else if (name == "security.capability" && !is_root)
            record.cannot_hold("capabilities");
        else if (name.starts_with("trusted.") && !is_root)
            record.cannot_hold("trusted attributes");
    }
}

bool has_metadata(int fd, const struct stat& status, NodeType type, const PlanMetadata& metadata,
                  const RestoreBatch& batch) {
    if (may_change_owner() && (status.st_uid != metadata.uid || status.st_gid != metadata.gid))
        return false;
    const bool is_privileged_bit_lost =
        status.st_uid != metadata.uid || status.st_gid != metadata.gid;
    const mode_t compared = (is_privileged_bit_lost ? 01777 : 07777) & ~bits_left_off(type, batch);
    if (type != NodeType::symlink && (status.st_mode & compared) != (metadata.mode & compared))
        return false;
    if (FileTime{status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)} !=
        metadata.mtime)
        return false;
    return has_attributes(fd, metadata, batch);
}

void set_metadata(int fd, NodeType type, const PlanMetadata& metadata, const RestoreBatch& batch,
                  const std::function<std::string()>& path, MetadataProblems& problems) {
    const Setter setter{fd, type, metadata, batch, path, problems};
    setter.owner();
    setter.attributes();
    setter.times();
    setter.mode();
}

}  // namespace backup
