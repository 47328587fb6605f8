// The bodies of two streams: the journal of jobs, and log messages. Run on a stream's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "common/clock.h"
#include "daemon/ipc/stream.h"
#include "daemon/jobs/event_log.h"
#include "daemon/state/state_store.h"

namespace backup {

// Jobs that gave things back to somebody say what was his; of other jobs what is said is anybody's.
bool is_his(const JobRecord& record, std::uint32_t uid);

struct JobHistory {
    StateStore& store;
    std::optional<std::uint32_t> of;  // only what is his; nothing: all
    std::optional<Timestamp> since;
    std::uint64_t limit = 0;                    // 0: all
    std::optional<std::uint64_t> only;          // one job
    std::map<std::uint64_t, std::string> live;  // states of those that have not ended

    Result<> operator()(LineWriter& lines) const;
};

struct LogReader {
    StateStore& store;
    std::optional<std::uint32_t> of;  // only of a job that is his; nothing: all
    EventLog& events;
    std::optional<std::uint64_t> job;
    std::optional<Timestamp> since;
    bool follow = false;                  // of a job: only while it runs
    std::function<bool()> job_has_ended;  // asked from the stream's thread

    Result<> operator()(LineWriter& lines) const;

  private:
    Result<> kept_lines(LineWriter& lines) const;
    Result<> new_events(LineWriter& lines, std::uint64_t& last) const;
};

}  // namespace backup
