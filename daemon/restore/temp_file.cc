#include "daemon/restore/temp_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "common/direct_io.h"
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

// How much of `content` got there; the rest is left to ordinary writes. 0 at the least: that a
// descriptor takes O_DIRECT is no promise that it takes this length or this memory.
Result<std::size_t> write_past_cache(int direct_fd, std::uint64_t offset, ByteView content) {
    const bool is_aligned =
        reinterpret_cast<std::uintptr_t>(content.data()) % kDirectAlignment == 0;
    const MutableByteView bounce = is_aligned ? MutableByteView() : bounce_buffer();
    std::size_t done = 0;
    while ((is_aligned || !bounce.empty()) && done < content.size()) {
        ByteView piece = content.subspan(done);
        if (!is_aligned) {
            piece = piece.first(std::min(bounce.size(), piece.size()));
            std::memcpy(bounce.data(), piece.data(), piece.size());
            piece = ByteView(bounce).first(piece.size());
        }
        const ssize_t wrote =
            ::pwrite(direct_fd, piece.data(), piece.size(), static_cast<off_t>(offset + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOMEM)
            return Error::from_errno(errno, "write");
        if (wrote <= 0) break;
        done += static_cast<std::size_t>(wrote);
        if (done % kDirectAlignment != 0) break;
    }
    return done;
}

Result<> write_run(int fd, int direct_fd, std::uint64_t offset, ByteView content) {
    const std::size_t head = std::min<std::size_t>(
        (kDirectAlignment - offset % kDirectAlignment) % kDirectAlignment, content.size());
    const std::size_t aligned = (content.size() - head) / kDirectAlignment * kDirectAlignment;
    if (direct_fd < 0 || aligned < kLeastDirect) return write_all(fd, offset, content);
    TRY(write_all(fd, offset, content.first(head)));
    const std::size_t done =
        TRY(write_past_cache(direct_fd, offset + head, content.subspan(head, aligned)));
    return write_all(fd, offset + head + done, content.subspan(head + done));
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

UniqueFd open_direct(int fd) {
    if (!takes_direct(fd)) return {};
    // By descriptor: what has its name by now may be something else.
    return UniqueFd(
        ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
}

bool is_zero(ByteView content) {
    return content.size() < sizeof(std::uint64_t)
               ? std::ranges::all_of(content, [](std::uint8_t byte) { return byte == 0; })
               : is_zero(content.data(), content.size());
}

bool wants_direct(std::size_t length) {
    return length >= kLeastDirect;
}

Result<bool> write_sparse(int fd, int direct_fd, std::uint64_t offset, ByteView content) {
    std::size_t written = 0;                               // up to here
    std::size_t at = (kBlock - offset % kBlock) % kBlock;  // first block border
    bool ends_in_data = true;
    while (at + kBlock <= content.size()) {
        if (!is_zero(content.data() + at, kBlock)) {
            at += kBlock;
            continue;
        }
        if (at > written)
            TRY(write_run(fd, direct_fd, offset + written, content.subspan(written, at - written)));
        while (at + kBlock <= content.size() && is_zero(content.data() + at, kBlock)) at += kBlock;
        written = at;
        ends_in_data = false;
    }
    if (written < content.size()) {
        TRY(write_run(fd, direct_fd, offset + written, content.subspan(written)));
        ends_in_data = true;
    }
    return ends_in_data;
}

}  // namespace backup
