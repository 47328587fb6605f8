#include "daemon/tracking/content_check.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "daemon/runtime/fs.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

// linux/ioprio.h is not everywhere.
constexpr int kOfThread = 1, kIdle = 3 << 13, kNone = 0;

class IdleReads {
  public:
    IdleReads() { (void)::syscall(SYS_ioprio_set, kOfThread, 0, kIdle); }
    ~IdleReads() { (void)::syscall(SYS_ioprio_set, kOfThread, 0, kNone); }
};

// False: not all of it could be read, or it is not that file.
bool read_part(const std::string& path, const HeldState& seen, std::uint64_t offset, Bytes& part) {
    IdleReads idle;
    const UniqueFd file(
        std::max(open_path(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC), -1));
    if (!file) return false;
    if (auto now = held_state(file.get()); !now || *now != seen) return false;
    std::size_t got = 0;
    while (got < part.size()) {
        const ssize_t count = ::pread(file.get(), part.data() + got, part.size() - got,
                                      static_cast<off_t>(offset + got));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        got += static_cast<std::size_t>(count);
    }
    // Nobody asked for these pages: what others have in memory is more useful there.
    (void)::posix_fadvise(file.get(), static_cast<off_t>(offset), static_cast<off_t>(got),
                          POSIX_FADV_DONTNEED);
    auto now = held_state(file.get());
    return now && *now == seen;
}

}  // namespace

ContentAnswer check_content(const std::string& path, const HeldState& seen, const Node& node,
                            const BlobSource& blobs, const std::function<void(Duration took)>& rest,
                            std::stop_token stop) {
    if (node.type != NodeType::file || node.size != seen.size || node.inode != seen.inode)
        return ContentAnswer::unknown;
    std::uint64_t offset = 0;
    Bytes part;
    for (const BlobId& id : node.content) {
        if (stop.stop_requested()) return ContentAnswer::unknown;
        auto location = blobs.locate({BlobType::data, id});
        if (!location || location->plain_length() > seen.size - offset)
            return ContentAnswer::unknown;
        const auto began = std::chrono::steady_clock::now();
        part.resize(location->plain_length());
        if (!read_part(path, seen, offset, part)) return ContentAnswer::unknown;
        if (blob_id(part) != id) return ContentAnswer::differs;
        offset += part.size();
        rest(std::chrono::steady_clock::now() - began);
    }
    return offset == seen.size ? ContentAnswer::same : ContentAnswer::unknown;
}

bool is_in_share(std::uint64_t inode, std::uint64_t pass, unsigned percent) {
    if (percent == 0) return false;
    // Inodes come in runs; multiplied by a large odd number their upper bits are spread evenly.
    const std::uint64_t place = (inode * 0x9e3779b97f4a7c15) >> 32;
    const std::uint64_t slot = place * 100 >> 32;
    const std::uint64_t first = pass * percent % 100;
    return (slot + 100 - first) % 100 < percent;
}

}  // namespace backup
