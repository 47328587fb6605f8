#include "daemon/retention/times.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace backup {

// The longest subsequence that does not decrease: tails[n] is where the one of n + 1 elements that
// ends earliest ends.
std::vector<bool> credible_times(const std::vector<Timestamp>& as_made) {
    const std::size_t n = as_made.size();
    constexpr std::size_t kNone = SIZE_MAX;
    std::vector<std::size_t> tails, before(n, kNone);
    for (std::size_t i = 0; i < n; ++i) {
        auto place = std::upper_bound(
            tails.begin(), tails.end(), as_made[i],
            [&](Timestamp time, std::size_t tail) { return time < as_made[tail]; });
        if (place != tails.begin()) before[i] = *(place - 1);
        if (place == tails.end())
            tails.push_back(i);
        else
            *place = i;
    }
    std::vector<bool> credible(n);
    for (std::size_t i = tails.empty() ? kNone : tails.back(); i != kNone; i = before[i])
        credible[i] = true;
    return credible;
}

}  // namespace backup
