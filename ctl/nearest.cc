#include "ctl/nearest.h"

#include <algorithm>

namespace backup {

namespace {
// Optimal string alignment: Levenshtein plus swaps of neighbours ("stauts").
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> cost(a.size() + 1,
                                               std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) {
        for (std::size_t j = 0; j <= b.size(); ++j) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            bool same = a[i - 1] == b[j - 1];
            std::size_t least = cost[i - 1][j - 1] + (same ? 0 : 1);
            least = std::min({least, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                least = std::min(least, cost[i - 2][j - 2] + 1);
            cost[i][j] = least;
        }
    }
    return cost[a.size()][b.size()];
}
}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    constexpr std::size_t kLongest = 64;
    if (word.empty() || word.size() > kLongest) return {};
    std::string best;
    std::size_t limit = std::max<std::size_t>(1, (word.size() + 1) / 3);
    std::size_t least = limit + 1;
    for (const auto& candidate : candidates) {
        std::size_t steps = distance(word, candidate);
        if (candidate.starts_with(word) && word.size() >= 2)
            steps = std::min<std::size_t>(steps, 1);
        if (steps < least) {
            least = steps;
            best = candidate;
        }
    }
    return best;
}

}  // namespace backup
