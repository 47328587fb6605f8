// ChunkBuffers owns the memory in which large files are cut: a fixed number of buffers, each as
// large as the longest chunk. Their number is the bound of that memory. Not thread-safe (the
// queue's lock guards it); a buffer belongs to whoever took it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/bytes.h"
#include "daemon/repository/chunker.h"

namespace backup {

// Pages are the kernel's until they are touched: chunks are 1.5 MiB on average, 8 MiB at most.
class ChunkBuffer {
  public:
    static constexpr std::size_t kCapacity = kMaxChunk;

    ChunkBuffer();
    ~ChunkBuffer();
    ChunkBuffer(const ChunkBuffer&) = delete;
    ChunkBuffer& operator=(const ChunkBuffer&) = delete;

    bool is_valid() const { return data_ != nullptr; }
    std::uint8_t* data() { return data_; }
    void touched(std::size_t size) {
        if (size > touched_) touched_ = size;
    }
    // Gives pages beyond kKept back to the kernel: one long chunk does not keep 8 MiB for the rest
    // of the run.
    void trim();

  private:
    static constexpr std::size_t kKept = std::size_t{2} << 20;
    std::uint8_t* data_ = nullptr;
    std::size_t touched_ = 0;
};

class ChunkBuffers {
  public:
    explicit ChunkBuffers(std::size_t most) : most_(most) {}
    ChunkBuffer* take();  // nullptr: all are in use
    void give_back(ChunkBuffer* buffer) { free_.push_back(buffer); }
    bool none_exist() const { return all_.empty(); }

  private:
    const std::size_t most_;
    std::vector<std::unique_ptr<ChunkBuffer>> all_;
    std::vector<ChunkBuffer*> free_;
};

}  // namespace backup
