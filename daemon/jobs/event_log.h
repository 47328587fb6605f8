// EventLog keeps the latest messages of the daemon for readers on the bus, and passes each on to
// the log proper. Thread-safe. What systemd's journal keeps is the lasting record; this is a window
// of `most` lines.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/log.h"

namespace backup {

struct Event {
    std::uint64_t sequence = 0;
    Timestamp time{};
    LogLevel level = LogLevel::info;
    std::uint64_t job = 0;  // 0: the daemon itself
    std::string message;
};

const char* to_string(LogLevel level);

class EventLog {
  public:
    explicit EventLog(const Clock& clock, std::size_t most = 2000) : clock_(clock), most_(most) {}

    void add(LogLevel level, std::string_view message, std::uint64_t job = 0);
    // Events with a sequence above `after`, oldest first.
    std::vector<Event> after(std::uint64_t after) const;
    // Waits until there is one above `after`, or `patience` is over, or a stop is asked for.
    void wait_beyond(std::uint64_t after, Duration patience, std::stop_token stop) const;

  private:
    const Clock& clock_;
    const std::size_t most_;
    mutable std::mutex mutex_;  // guards all below
    mutable std::condition_variable_any changed_;
    std::deque<Event> events_;
    std::uint64_t next_ = 1;
};

}  // namespace backup
