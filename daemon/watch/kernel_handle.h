// KernelHandle holds a struct file_handle, as name_to_handle_at(2) fills it and
// open_by_handle_at(2) takes it, and knows its form as ObjectHandle. A plain value on the stack.
#pragma once

#include <array>
#include <cstddef>

#include <fcntl.h>

#include "daemon/watch/handle.h"

namespace backup {

class KernelHandle {
  public:
    KernelHandle();
    // False: not a kernel handle.
    bool assign(const ObjectHandle& handle);
    // 0 or -errno.
    int look_up(int directory, const char* name, int flags);
    bool equals(const ObjectHandle& handle) const;
    ObjectHandle object() const;
    file_handle* get() { return head(); }

  private:
    static constexpr std::size_t kMostBytes = 128;  // MAX_HANDLE_SZ
    file_handle* head() { return reinterpret_cast<file_handle*>(storage_.data()); }
    const file_handle* head() const {
        return reinterpret_cast<const file_handle*>(storage_.data());
    }

    alignas(file_handle) std::array<std::byte, sizeof(file_handle) + kMostBytes> storage_;
};

}  // namespace backup
