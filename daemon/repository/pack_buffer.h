// PackBuffer is room for one pack: page-aligned (for direct writes), its pages touched only as they
// fill up, and given back to the system when it goes. Movable; not thread-safe, but distinct parts
// may be written by distinct threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/bytes.h"
#include "common/result.h"

namespace backup {

class PackBuffer {
  public:
    static Result<PackBuffer> make(std::size_t capacity);
    PackBuffer(PackBuffer&& other) noexcept;
    PackBuffer& operator=(PackBuffer&& other) noexcept;
    ~PackBuffer();

    std::uint8_t* data() { return data_; }
    std::size_t capacity() const { return capacity_; }
    // May move the content: nobody else may be using it.
    Result<> grow(std::size_t capacity);

  private:
    PackBuffer(std::uint8_t* data, std::size_t capacity) : data_(data), capacity_(capacity) {}
    std::uint8_t* data_ = nullptr;
    std::size_t capacity_ = 0;
};

}  // namespace backup
