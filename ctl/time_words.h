// Time words: "latest", "yesterday", "2 hours ago", "2026-11-20", "2026-11-20 09:30", RFC 3339.
// Pure but for the process's time zone (TZ), in which words without an offset are read.
#pragma once

#include <string>
#include <string_view>

#include "common/clock.h"
#include "common/result.h"

namespace backup {

// A word names a stretch of time: a day, a minute, a second, or a single instant.
// `--since` means its first nanosecond, `--at` and `--until` its last.
struct TimeSpan {
    Timestamp first;
    Timestamp last;
    bool latest = false;  // "latest": no bound at all
};

// ErrorKind::invalid with the forms that are understood. In the hour that a clock change repeats,
// the span covers both readings; an hour that is skipped is read as if the clock had gone on.
Result<TimeSpan> parse_time_words(std::string_view text, Timestamp now);

// "15", "15s", "10min", "2h", "1d", "1 week": seconds. ErrorKind::invalid otherwise.
Result<std::uint64_t> parse_duration(std::string_view text);

}  // namespace backup
