#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>

#include "common/path.h"
#include "daemon/watch/kernel_handle.h"
#include "daemon/watch/watcher.h"

namespace backup {

namespace {

void append_le64(std::string& text, std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) text += static_cast<char>(value >> shift & 0xff);
}

}  // namespace

KernelHandle::KernelHandle() : storage_{} {
    head()->handle_bytes = kMostBytes;
}

bool KernelHandle::assign(const ObjectHandle& handle) {
    if (handle.size() < 3 || handle[0] != 'h' || handle.size() - 2 > kMostBytes) return false;
    head()->handle_bytes = static_cast<unsigned>(handle.size() - 2);
    head()->handle_type = static_cast<unsigned char>(handle[1]);
    std::memcpy(head()->f_handle, handle.data() + 2, handle.size() - 2);
    return true;
}

int KernelHandle::look_up(int directory, const char* name, int flags) {
    head()->handle_bytes = kMostBytes;
    int mount_id = 0;
    if (name_to_handle_at(directory, name, head(), &mount_id, flags) != 0) return -errno;
    if (head()->handle_type <= 0 || head()->handle_type >= 255) return -EOPNOTSUPP;
    return 0;
}

bool KernelHandle::equals(const ObjectHandle& handle) const {
    return handle.size() == head()->handle_bytes + 2 && handle[0] == 'h' &&
           static_cast<unsigned char>(handle[1]) == head()->handle_type &&
           std::memcmp(head()->f_handle, handle.data() + 2, handle.size() - 2) == 0;
}

ObjectHandle KernelHandle::object() const {
    ObjectHandle handle{'h', static_cast<char>(head()->handle_type)};
    handle.append(reinterpret_cast<const char*>(head()->f_handle), head()->handle_bytes);
    return handle;
}

Result<ObjectHandle> handle_of(int directory, const char* name, bool follow) {
    const bool is_itself = name[0] == '\0';
    KernelHandle kernel;
    const int flags = (follow ? AT_SYMLINK_FOLLOW : 0) | (is_itself ? AT_EMPTY_PATH : 0);
    const int error = kernel.look_up(directory, name, flags);
    if (error == 0) return kernel.object();
    const auto what = [&] { return "handle of " + printable(name); };
    if (error != -EOPNOTSUPP && error != -EOVERFLOW && error != -ENOSYS && error != -EPERM)
        return Error::from_errno(-error, what());
    struct stat status {};
    const int stat_flags =
        (follow ? 0 : AT_SYMLINK_NOFOLLOW) | AT_NO_AUTOMOUNT | (is_itself ? AT_EMPTY_PATH : 0);
    if (fstatat(directory, name, &status, stat_flags) != 0) return Error::from_errno(errno, what());
    ObjectHandle handle = "i";
    append_le64(handle, status.st_dev);
    append_le64(handle, status.st_ino);
    return handle;
}

}  // namespace backup
