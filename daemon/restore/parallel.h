// Runs `each` for 0 .. count-1 on several threads, joined before it returns. The first error ends
// it: what has begun is finished, nothing else is started. Items are handed out in order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "common/result.h"

namespace backup {

template <typename Each>
Result<> in_parallel(unsigned threads, std::size_t count, std::stop_token stop, const Each& each) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> is_over{false};
    std::mutex mutex;  // guards first_error
    std::optional<Error> first_error;
    const auto work = [&] {
        while (!is_over.load(std::memory_order_relaxed)) {
            const std::size_t item = next.fetch_add(1, std::memory_order_relaxed);
            if (item >= count) return;
            Result<> done =
                stop.stop_requested()
                    ? Result<>(Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled"))
                    : each(item);
            if (done.ok()) continue;
            is_over.store(true, std::memory_order_relaxed);
            std::lock_guard lock(mutex);
            if (!first_error) first_error = std::move(done).error();
        }
    };
    {
        std::vector<std::jthread> helpers;
        for (std::size_t i = 1; i < std::min<std::size_t>(threads, count); ++i)
            helpers.emplace_back(work);
        work();
    }
    if (first_error) return std::move(*first_error);
    return {};
}

}  // namespace backup
