#include "daemon/ipc/live_facts.h"

#include <algorithm>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/unique_fd.h"

namespace backup {

namespace {

// https://bford.info/cachedir/
constexpr std::string_view kCacheSignature = "Signature: 8a477f597d28d172789f06886806bc55";

bool has_cache_tag(Fs& fs, const std::string& directory) {
    // Anything may stand there under that name: a FIFO must not hold us.
    UniqueFd tag(std::max(-1, fs.open(AT_FDCWD, (directory + "/CACHEDIR.TAG").c_str(),
                                      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY)));
    if (!tag) return false;
    std::string head(kCacheSignature.size(), '\0');
    const ssize_t got = fs.read(
        tag.get(), MutableByteView(reinterpret_cast<std::uint8_t*>(head.data()), head.size()));
    return got == static_cast<ssize_t>(head.size()) && head == kCacheSignature;
}

}  // namespace

ObjectFacts live_facts(Fs& fs, const std::string& path, bool cachedir_tag) {
    struct statx status {};
    ObjectFacts facts;
    if (fs.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status) < 0) return facts;
    facts.exists = true;
    facts.is_directory = S_ISDIR(status.stx_mode);
    facts.is_file = S_ISREG(status.stx_mode);
    facts.is_symlink = S_ISLNK(status.stx_mode);
    facts.nodump = (status.stx_attributes & STATX_ATTR_NODUMP) != 0;
    facts.size = status.stx_size;
    facts.device = (std::uint64_t{status.stx_dev_major} << 32) | status.stx_dev_minor;
    facts.cache_tag = facts.is_directory && cachedir_tag && has_cache_tag(fs, path);
    return facts;
}

}  // namespace backup
