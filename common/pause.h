// A sleep that a stop request ends. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace backup {

// False: it was told to stop before the time was over, or had been already.
template <typename Rep, typename Period>
bool pause_for(const std::stop_token& stop, std::chrono::duration<Rep, Period> time) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait_for(lock, stop, time, [] { return false; });
    return !stop.stop_requested();
}

}  // namespace backup
