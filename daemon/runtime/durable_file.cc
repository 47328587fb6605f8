#include "daemon/runtime/durable_file.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

std::string folder_of(const std::string& path) {
    auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_folder(const std::string& folder) {
    UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open " + folder);
    if (::fsync(fd.get()) < 0) return Error::from_errno(errno, "sync " + folder);
    return {};
}

Result<> write_and_sync(const std::string& path, std::string_view content, unsigned mode) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd) return Error::from_errno(errno, "create " + path);
    while (!content.empty()) {
        ssize_t n = ::write(fd.get(), content.data(), content.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "write " + path);
        content.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fchmod(fd.get(), mode) < 0) return Error::from_errno(errno, "set the mode of " + path);
    if (::fsync(fd.get()) < 0) return Error::from_errno(errno, "sync " + path);
    if (::close(fd.release()) < 0) return Error::from_errno(errno, "close " + path);
    return {};
}

}  // namespace

Result<> make_folders(const std::string& path) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), 0700) < 0 && errno != EEXIST) {
            // An existing parent on a read-only file system answers EROFS, not EEXIST.
            int problem = errno;
            struct stat status {};
            if (::stat(part.c_str(), &status) < 0)
                return Error::from_errno(problem, "make the folder " + part);
        }
        if (end == std::string::npos) break;
    }
    return {};
}

Result<> write_file_durably(const std::string& path, std::string_view content, unsigned mode) {
    std::string folder = folder_of(path);
    TRY(make_folders(folder));
    // A name that readers of *.toml skip. Left over from a crash, it is in nobody's use: one writer
    // per path.
    std::string beside = path + ".new~";
    ::unlink(beside.c_str());
    if (auto written = write_and_sync(beside, content, mode); !written.ok()) {
        ::unlink(beside.c_str());
        return written;
    }
    if (::rename(beside.c_str(), path.c_str()) < 0) {
        Error error = Error::from_errno(errno, "rename to " + path);
        ::unlink(beside.c_str());
        return error;
    }
    return sync_folder(folder);
}

Result<> remove_file_durably(const std::string& path) {
    if (::unlink(path.c_str()) < 0) {
        if (errno == ENOENT) return {};
        return Error::from_errno(errno, "remove " + path);
    }
    return sync_folder(folder_of(path));
}

Result<std::string> read_small_file(const std::string& path, std::size_t most) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) return Error::from_errno(errno, "open " + path);
    std::string content(most + 1, '\0');
    std::size_t size = 0;
    while (size < content.size()) {
        ssize_t n = ::read(fd.get(), content.data() + size, content.size() - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return Error::from_errno(errno, "read " + path);
        if (n == 0) break;
        size += static_cast<std::size_t>(n);
    }
    if (size > most)
        return Error(ErrorKind::invalid,
                     path + " is larger than " + std::to_string(most) + " bytes");
    content.resize(size);
    return content;
}

}  // namespace backup
