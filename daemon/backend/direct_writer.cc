#include "daemon/backend/direct_writer.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "common/direct_io.h"

namespace backup {

namespace {

// Writes all of it; `done` tells how much got there.
int write_at(int fd, ByteView content, std::size_t offset, std::size_t& done) {
    for (done = 0; done < content.size();) {
        ssize_t wrote = pwrite(fd, content.data() + done, content.size() - done,
                               static_cast<off_t>(offset + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno;
        if (wrote == 0) return EIO;
        done += static_cast<std::size_t>(wrote);
    }
    return 0;
}

// The same, a piece at a time.
int write_all(int fd, ByteView content, std::size_t offset, std::size_t& done, const Paced* paced) {
    if (paced == nullptr) return write_at(fd, content, offset, done);
    for (done = 0; done < content.size();) {
        const std::size_t piece = paced->stride.next(paced->pace, content.size() - done);
        if (!paced->pace.pass(piece)) return ECANCELED;
        std::size_t wrote = 0;
        const auto begin = std::chrono::steady_clock::now();
        const int problem = write_at(fd, content.subspan(done, piece), offset + done, wrote);
        paced->stride.sent(piece, std::chrono::steady_clock::now() - begin);
        done += wrote;
        if (problem != 0) return problem;
    }
    return 0;
}

bool is_aligned(const void* memory) {
    return reinterpret_cast<std::uintptr_t>(memory) % kDirectAlignment == 0;
}

// From memory that the device cannot read from directly, through an aligned buffer.
int write_bounced(int fd, ByteView content, std::size_t& done, const Paced* paced) {
    const MutableByteView bounce = bounce_buffer();
    done = 0;
    if (bounce.empty()) return ENOMEM;
    while (done < content.size()) {
        std::size_t piece = std::min(bounce.size(), content.size() - done);
        std::memcpy(bounce.data(), content.data() + done, piece);
        std::size_t wrote = 0;
        int problem = write_all(fd, bounce.first(piece), done, wrote, paced);
        done += wrote;
        if (problem != 0) return problem;
    }
    return 0;
}

}  // namespace

int write_direct(int fd, ByteView content, bool prefer_direct, const Paced* paced) {
    std::size_t done = 0;
    int flags = prefer_direct && content.size() >= kLeastDirect ? fcntl(fd, F_GETFL) : -1;
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0) {
        ByteView aligned = content.first(content.size() / kDirectAlignment * kDirectAlignment);
        int problem = is_aligned(aligned.data()) ? write_all(fd, aligned, 0, done, paced)
                                                 : write_bounced(fd, aligned, done, paced);
        // EINVAL: it was promised, but not like this. The rest is written in the ordinary way.
        if (problem != 0 && problem != EINVAL && problem != ENOTSUP && problem != ENOMEM)
            return problem;
        if (fcntl(fd, F_SETFL, flags) != 0) return errno;
    }
    std::size_t rest = 0;
    return write_all(fd, content.subspan(done), done, rest, paced);
}

}  // namespace backup
