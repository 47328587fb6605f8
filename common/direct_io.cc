#include "common/direct_io.h"

#include <cstdint>
#include <cstdlib>
#include <memory>

#include <linux/magic.h>
#include <sys/vfs.h>

namespace backup {

namespace {

constexpr std::size_t kBounceBytes = std::size_t{1} << 20;

struct Free {
    void operator()(std::uint8_t* memory) const { std::free(memory); }
};

}  // namespace

bool takes_direct(int fd) {
    struct statfs where {};
    return ::fstatfs(fd, &where) == 0 &&
           (where.f_type == EXT4_SUPER_MAGIC || where.f_type == XFS_SUPER_MAGIC);
}

MutableByteView bounce_buffer() {
    thread_local const std::unique_ptr<std::uint8_t, Free> mine(
        static_cast<std::uint8_t*>(std::aligned_alloc(kDirectAlignment, kBounceBytes)));
    return mine ? MutableByteView(mine.get(), kBounceBytes) : MutableByteView();
}

}  // namespace backup
