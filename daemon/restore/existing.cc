#include "daemon/restore/existing.h"

#include <cerrno>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "common/unique_fd.h"
#include "daemon/restore/metadata.h"

namespace backup {

namespace {

mode_t file_type(NodeType type) {
    switch (type) {
        case NodeType::file:
            return S_IFREG;
        case NodeType::dir:
            return S_IFDIR;
        case NodeType::symlink:
            return S_IFLNK;
        case NodeType::dev:
            return S_IFBLK;
        case NodeType::chardev:
            return S_IFCHR;
        case NodeType::fifo:
            return S_IFIFO;
        case NodeType::socket:
            return S_IFSOCK;
        case NodeType::irregular:
        case NodeType::unknown:
            break;
    }
    return 0;
}

bool has_entries(int directory_fd, const std::string& name) {
    UniqueFd fd(
        ::openat(directory_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return true;  // unknown: treated as filled, so it stays
    alignas(8) char buffer[1024];
    int entries = 0;
    for (ssize_t got; (got = ::getdents64(fd.get(), buffer, sizeof buffer)) > 0;) {
        for (ssize_t at = 0; at < got; ++entries) {
            std::uint16_t length = 0;
            __builtin_memcpy(&length, buffer + at + 16, sizeof length);  // d_reclen
            at += length;
        }
        if (entries > 2) return true;
    }
    return false;
}

Result<std::string> link_target(int fd, std::size_t expected) {
    std::string text(expected + 1, '\0');
    const ssize_t got = ::readlinkat(fd, "", text.data(), text.size());
    if (got < 0) return Error::from_errno(errno, "read symbolic link");
    text.resize(static_cast<std::size_t>(got));
    return text;
}

bool is_same_time(const timespec& time, const FileTime& other) {
    return time.tv_sec == other.seconds &&
           static_cast<std::uint32_t>(time.tv_nsec) == other.nanoseconds;
}

Result<bool> is_same_file(int directory_fd, const std::string& name, const struct stat& status,
                          const PlanObject& object, const RestoreBatch& batch,
                          const BlobSource& blobs, ContentCheck check, const std::stop_token& stop,
                          const std::function<bool(const struct stat&)>& is_known_right) {
    if (static_cast<std::uint64_t>(status.st_size) != object.size) return false;
    if (object.size == 0) return true;
    if (check == ContentCheck::trust) return is_same_time(status.st_mtim, object.metadata.mtime);
    if (is_known_right && is_known_right(status)) return true;
    UniqueFd fd(
        ::openat(directory_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) return false;  // not readable for us: it is not known to be the same
    return has_content(fd.get(),
                       std::span(batch.blobs).subspan(object.first_blob, object.blob_count), blobs,
                       stop);
}

}  // namespace

Result<bool> has_content(int fd, std::span<const BlobId> blobs, const BlobSource& source,
                         const std::stop_token& stop) {
    Bytes buffer;
    std::uint64_t offset = 0;
    for (const BlobId& id : blobs) {
        if (stop.stop_requested())
            return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
        const std::optional<BlobLocation> location = source.locate({BlobType::data, id});
        if (!location) return false;
        buffer.resize(location->plain_length());
        std::size_t filled = 0;
        while (filled < buffer.size()) {
            const ssize_t got = ::pread(fd, buffer.data() + filled, buffer.size() - filled,
                                        static_cast<off_t>(offset + filled));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return Error::from_errno(errno, "read");
            if (got == 0) return false;
            filled += static_cast<std::size_t>(got);
        }
        if (blob_id(buffer) != id) return false;
        offset += buffer.size();
    }
    std::uint8_t more = 0;
    return ::pread(fd, &more, 1, static_cast<off_t>(offset)) == 0;
}

Result<Look> look_at(int directory_fd, const std::string& name, const PlanObject& object,
                     const RestoreBatch& batch, const BlobSource& blobs, ContentCheck check,
                     const std::stop_token& stop,
                     const std::function<bool(const struct stat&)>& is_known_right) {
    Look look;
    UniqueFd fd(::openat(directory_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
        if (errno == ENOENT) return look;
        return Error::from_errno(errno, "look at " + printable(name));
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0)
        return Error::from_errno(errno, "look at " + printable(name));
    look.device = status.st_dev;
    look.inode = status.st_ino;
    look.status = status;
    Existing& existing = look.existing;
    existing.is_there = true;
    existing.same_type = (status.st_mode & S_IFMT) == file_type(object.type);
    existing.is_newer =
        FileTime{status.st_mtim.tv_sec, static_cast<std::uint32_t>(status.st_mtim.tv_nsec)} >=
        object.metadata.mtime;
    if (!existing.same_type) {
        existing.is_filled_directory = S_ISDIR(status.st_mode) && has_entries(directory_fd, name);
        return look;
    }
    existing.is_shared = status.st_nlink > 1 && object.link_group == kNoLinkGroup;
    switch (object.type) {
        case NodeType::file:
            existing.same_content = TRY(is_same_file(directory_fd, name, status, object, batch,
                                                     blobs, check, stop, is_known_right));
            break;
        case NodeType::symlink: {
            const std::string_view wanted = batch.text(object.link_target);
            existing.same_content = TRY(link_target(fd.get(), wanted.size())) == wanted;
            break;
        }
        case NodeType::dev:
        case NodeType::chardev:
            existing.same_content = status.st_rdev == object.device;
            break;
        case NodeType::fifo:
            existing.same_content = true;
            break;
        case NodeType::dir:
        case NodeType::socket:
        case NodeType::irregular:
        case NodeType::unknown:
            break;
    }
    existing.same_metadata = existing.same_content &&
                             has_metadata(fd.get(), status, object.type, object.metadata, batch);
    return look;
}

}  // namespace backup
