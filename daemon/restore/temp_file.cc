#include "daemon/restore/temp_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "common/path.h"

namespace backup {

namespace {

// The block of every usual file system: a hole smaller than that saves nothing.
constexpr std::size_t kBlock = 4096;

bool is_zero(const std::uint8_t* at, std::size_t length) {
    // Eight bytes decide almost always; the rest is compared with itself, shifted by one.
    std::uint64_t head = 0;
    std::memcpy(&head, at, sizeof head);
    return head == 0 && std::memcmp(at, at + 1, length - 1) == 0;
}

Result<> write_all(int fd, std::uint64_t offset, ByteView content) {
    while (!content.empty()) {
        const ssize_t wrote =
            ::pwrite(fd, content.data(), content.size(), static_cast<off_t>(offset));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return Error::from_errno(errno, "write");
        content = content.subspan(static_cast<std::size_t>(wrote));
        offset += static_cast<std::uint64_t>(wrote);
    }
    return {};
}

}  // namespace

Result<UniqueFd> create_temp(int directory_fd, const std::string& name) {
    UniqueFd fd(::openat(directory_fd, name.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "create a file");
    return fd;
}

Result<UniqueFd> reopen_temp(int directory_fd, const std::string& name, int flags) {
    UniqueFd fd(::openat(directory_fd, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, "open a temporary file again");
    return fd;
}

Result<bool> write_sparse(int fd, std::uint64_t offset, ByteView content) {
    std::size_t written = 0;                               // up to here
    std::size_t at = (kBlock - offset % kBlock) % kBlock;  // first block border
    bool ends_in_data = true;
    while (at + kBlock <= content.size()) {
        if (!is_zero(content.data() + at, kBlock)) {
            at += kBlock;
            continue;
        }
        if (at > written)
            TRY(write_all(fd, offset + written, content.subspan(written, at - written)));
        while (at + kBlock <= content.size() && is_zero(content.data() + at, kBlock)) at += kBlock;
        written = at;
        ends_in_data = false;
    }
    if (written < content.size()) {
        TRY(write_all(fd, offset + written, content.subspan(written)));
        ends_in_data = true;
    }
    return ends_in_data;
}

}  // namespace backup
