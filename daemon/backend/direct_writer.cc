#include "daemon/backend/direct_writer.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <unistd.h>

namespace backup {

namespace {

constexpr std::size_t kAlignment = 4096;  // of memory, offset and length: enough for every device
constexpr std::size_t kLeastDirect = std::size_t{256} << 10;
constexpr std::size_t kBounceBytes = std::size_t{1} << 20;

struct Free {
    void operator()(std::uint8_t* memory) const { std::free(memory); }
};

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
    return reinterpret_cast<std::uintptr_t>(memory) % kAlignment == 0;
}

// From memory that the device cannot read from directly, through an aligned buffer.
int write_bounced(int fd, ByteView content, std::size_t& done, const Paced* paced) {
    static thread_local const std::unique_ptr<std::uint8_t, Free> bounce(
        static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, kBounceBytes)));
    done = 0;
    if (!bounce) return ENOMEM;
    while (done < content.size()) {
        std::size_t piece = std::min(kBounceBytes, content.size() - done);
        std::memcpy(bounce.get(), content.data() + done, piece);
        std::size_t wrote = 0;
        int problem = write_all(fd, {bounce.get(), piece}, done, wrote, paced);
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
        ByteView aligned = content.first(content.size() / kAlignment * kAlignment);
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
