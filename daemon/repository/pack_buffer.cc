#include "daemon/repository/pack_buffer.h"

#include <cerrno>
#include <utility>

#include <sys/mman.h>

namespace backup {

namespace {

constexpr std::size_t kPage = 4096;
std::size_t whole_pages(std::size_t bytes) {
    return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

Result<PackBuffer> PackBuffer::make(std::size_t capacity) {
    capacity = whole_pages(capacity);
    void* data = mmap(nullptr, capacity, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return Error::from_errno(errno, "get memory for a pack");
    return PackBuffer(static_cast<std::uint8_t*>(data), capacity);
}

PackBuffer::PackBuffer(PackBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}

PackBuffer& PackBuffer::operator=(PackBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
}

PackBuffer::~PackBuffer() {
    if (data_) munmap(data_, capacity_);
}

Result<> PackBuffer::grow(std::size_t capacity) {
    capacity = whole_pages(capacity);
    if (capacity <= capacity_) return {};
    void* data = mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
    if (data == MAP_FAILED) return Error::from_errno(errno, "get memory for a pack");
    data_ = static_cast<std::uint8_t*>(data);
    capacity_ = capacity;
    return {};
}

}  // namespace backup
