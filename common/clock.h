// Clock is the only source of time: tests own a FakeClock, so nothing depends on the machine's.
// Implementations are thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

using Duration = std::chrono::nanoseconds;
using Timestamp = std::chrono::time_point<std::chrono::system_clock, Duration>;  // wall clock
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;

class Clock {
  public:
    virtual ~Clock() = default;
    virtual Timestamp now() const = 0;
    virtual MonotonicTime monotonic() const = 0;
    // The wall clock may be set without the kernel's telling: whoever waits for a time of it must
    // look often.
    virtual bool jumps_unseen() const { return false; }
};

// BACKUPD_CLOCK_STEP in the environment names a file with seconds that are added to the wall clock,
// so that tests can set it back and forth without touching the machine's.
class SystemClock final : public Clock {
  public:
    Timestamp now() const override;
    MonotonicTime monotonic() const override;
    bool jumps_unseen() const override;
};

// Microseconds since the epoch, the unit of the bus; 0 stands for never.
std::uint64_t to_usec(Timestamp time);
Timestamp from_usec(std::uint64_t usec);

// RFC 3339 in the local zone with offset and up to 9 fraction digits, trailing zeros trimmed, "Z"
// for 0.
std::string format_rfc3339(Timestamp time);
std::string format_rfc3339_utc(Timestamp time);
// Any offset, 0 to 9 fraction digits. Years outside what Timestamp can hold (1677 to 2262) are
// clamped.
Result<Timestamp> parse_rfc3339(std::string_view text);

}  // namespace backup
