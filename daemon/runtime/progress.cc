#include "daemon/runtime/progress.h"

namespace backup {

const char* to_string(Phase phase) {
    switch (phase) {
        case Phase::starting:
            return "starting";
        case Phase::locking:
            return "locking";
        case Phase::loading:
            return "loading";
        case Phase::scanning:
            return "scanning";
        case Phase::planning:
            return "planning";
        case Phase::protecting:
            return "protecting";
        case Phase::reading:
            return "reading";
        case Phase::restoring:
            return "restoring";
        case Phase::removing:
            return "removing";
        case Phase::verifying:
            return "verifying";
        case Phase::committing:
            return "committing";
        case Phase::finishing:
            return "finishing";
    }
    return "unknown";
}

void ExceptionLog::add(std::string path, Error error) {
    progress_.exceptions.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    if (list_.size() < most_) list_.push_back({std::move(path), std::move(error)});
}

std::vector<Exception> ExceptionLog::list() const {
    std::lock_guard lock(mutex_);
    return list_;
}

}  // namespace backup
