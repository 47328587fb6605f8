// Stride says how much to send at once, so that what was let through is sent soon: a gate that
// closes within seconds must not wait for a slow storage to take what it has begun. Thread-safe.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "common/clock.h"
#include "daemon/backend/pace.h"

namespace backup {

class Stride {
  public:
    static constexpr std::size_t kLeast = std::size_t{16} << 10;  // whole pages
    static constexpr std::size_t kFirst = std::size_t{64} << 10;
    static constexpr std::size_t kMost = std::size_t{4} << 20;

    // Of what is left; what the pace wants at once is never exceeded.
    std::size_t next(const Pace& pace, std::size_t left) const {
        return std::min({pace.piece(), bytes_.load(std::memory_order_relaxed), left});
    }
    // Twice as much as long as that is done in a moment, half of it when it took too long. What was
    // smaller than allowed tells nothing about more.
    void sent(std::size_t bytes, Duration took) {
        const std::size_t now = bytes_.load(std::memory_order_relaxed);
        if (took > kLong)
            bytes_.store(std::max(std::min(bytes, now) / 2 / kLeast * kLeast, kLeast),
                         std::memory_order_relaxed);
        else if (bytes >= now && took < kMoment)
            bytes_.store(std::min(now * 2, kMost), std::memory_order_relaxed);
    }

  private:
    static constexpr Duration kMoment = std::chrono::milliseconds(125);
    static constexpr Duration kLong = std::chrono::milliseconds(500);

    std::atomic<std::size_t> bytes_{kFirst};
};

}  // namespace backup
