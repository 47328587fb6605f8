// Pace lets bytes through to a storage, or from it: how fast, and whether at all. Implementations
// are thread-safe.
#pragma once

#include <cstddef>

namespace backup {

class Pace {
  public:
    virtual ~Pace() = default;
    // Blocks until so many bytes may go. False: not in this run any more, the caller gives up what
    // it was about to send.
    virtual bool pass(std::size_t bytes) = 0;
    // The most to ask for at once, so that a changed rate and a closed gate count soon.
    virtual std::size_t piece() const = 0;
};

}  // namespace backup
