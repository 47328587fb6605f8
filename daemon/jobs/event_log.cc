#include "daemon/jobs/event_log.h"

namespace backup {

const char* to_string(LogLevel level) {
    switch (level) {
        case LogLevel::error:
            return "error";
        case LogLevel::warning:
            return "warning";
        case LogLevel::notice:
            return "notice";
        case LogLevel::info:
            return "info";
        case LogLevel::debug:
            return "debug";
    }
    return "info";
}

void EventLog::add(LogLevel level, std::string_view message, std::uint64_t job) {
    if (job == 0)
        log(level, message);
    else
        log(level, "job " + std::to_string(job) + ": " + std::string(message),
            {{"BACKUPD_JOB", std::to_string(job)}});
    {
        std::lock_guard lock(mutex_);
        events_.push_back({next_++, clock_.now(), level, job, std::string(message)});
        if (events_.size() > most_) events_.pop_front();
    }
    changed_.notify_all();
}

std::vector<Event> EventLog::after(std::uint64_t after) const {
    std::lock_guard lock(mutex_);
    std::vector<Event> found;
    for (const Event& event : events_)
        if (event.sequence > after) found.push_back(event);
    return found;
}

void EventLog::wait_beyond(std::uint64_t after, Duration patience, std::stop_token stop) const {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, patience, [&] { return next_ - 1 > after; });
}

}  // namespace backup
