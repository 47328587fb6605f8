#include "daemon/state/small_file.h"

#include <cerrno>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace backup::state {

namespace {
constexpr std::size_t kMostBytes = 4096;

Result<> write_synced(const std::string& path, std::string_view content) {
    auto failed = [&] { return Error::from_errno(errno, "write " + path); };
    UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return failed();
    while (!content.empty()) {
        ssize_t wrote = write(file.get(), content.data(), content.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return failed();
        content.remove_prefix(static_cast<std::size_t>(wrote));
    }
    if (fsync(file.get()) != 0) return failed();
    if (close(file.release()) != 0) return failed();
    return {};
}
}  // namespace

Result<std::optional<std::string>> read_small_file(const std::string& path) {
    UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file && errno == ENOENT) return std::optional<std::string>();
    if (!file) return Error::from_errno(errno, "read " + path);
    std::string content(kMostBytes, '\0');
    std::size_t used = 0;
    while (used < content.size()) {
        ssize_t got = read(file.get(), content.data() + used, content.size() - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(errno, "read " + path);
        if (got == 0) break;
        used += static_cast<std::size_t>(got);
    }
    content.resize(used);
    return std::optional<std::string>(std::move(content));
}

Result<> write_small_file(const std::string& path, std::string_view content) {
    std::string temporary = path + ".new";
    auto written = write_synced(temporary, content);
    if (!written.ok()) {
        unlink(temporary.c_str());
        return written;
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
        Error error = Error::from_errno(errno, "write " + path);
        unlink(temporary.c_str());
        return error;
    }
    std::string folder = path.substr(0, path.rfind('/'));
    UniqueFd directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return Error::from_errno(errno, "open " + folder);
    if (fsync(directory.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
        return Error::from_errno(errno, "sync " + folder);
    return {};
}

}  // namespace backup::state
