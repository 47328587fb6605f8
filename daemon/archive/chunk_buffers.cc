#include "daemon/archive/chunk_buffers.h"

#include <sys/mman.h>

namespace backup {

ChunkBuffer::ChunkBuffer() {
    void* memory = ::mmap(nullptr, kCapacity, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) data_ = static_cast<std::uint8_t*>(memory);
}

ChunkBuffer::~ChunkBuffer() {
    if (data_ != nullptr) ::munmap(data_, kCapacity);
}

void ChunkBuffer::trim() {
    if (touched_ <= kKept) return;
    ::madvise(data_ + kKept, kCapacity - kKept, MADV_DONTNEED);
    touched_ = kKept;
}

ChunkBuffer* ChunkBuffers::take() {
    if (!free_.empty()) {
        ChunkBuffer* buffer = free_.back();
        free_.pop_back();
        return buffer;
    }
    if (all_.size() == most_) return nullptr;
    auto buffer = std::make_unique<ChunkBuffer>();
    if (!buffer->is_valid()) return nullptr;
    all_.push_back(std::move(buffer));
    return all_.back().get();
}

}  // namespace backup
