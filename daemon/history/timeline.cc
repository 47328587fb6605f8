#include "daemon/history/timeline.h"

#include <algorithm>

namespace backup {

std::vector<Stretch> timeline(const std::vector<Version>& oldest_first,
                              const std::vector<Ordinal>& ordinals) {
    const auto position = [&](Ordinal ordinal) {
        return static_cast<std::uint32_t>(std::ranges::lower_bound(ordinals, ordinal) -
                                          ordinals.begin());
    };
    const auto count = static_cast<std::uint32_t>(ordinals.size());
    std::vector<Stretch> stretches;
    for (const Version& version : oldest_first) {
        const std::uint32_t begin = position(version.first);
        const std::uint32_t end = version.is_open() ? count : position(version.last + 1);
        if (begin >= end) continue;
        if (!stretches.empty()) {
            Stretch& before = stretches.back();
            if (before.last + 1 < begin) {
                stretches.push_back({true, before.version, before.last + 1, begin - 1});
            } else if (same_version(before.version, version)) {
                before.last = end - 1;
                continue;
            }
        }
        stretches.push_back({false, version, begin, end - 1});
    }
    if (!stretches.empty() && stretches.back().last + 1 < count)
        stretches.push_back({true, stretches.back().version, stretches.back().last + 1, count - 1});
    return stretches;
}

}  // namespace backup
