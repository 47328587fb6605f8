// Sets that no file describes: on a machine that has none of its own, those that its repositories
// hold, so that they can be read and restored.
#include <algorithm>

#include "daemon/jobs/service.h"

namespace backup {

namespace {

bool are_same(const std::vector<BackupSet>& a, const std::vector<BackupSet>& b) {
    return std::ranges::equal(a, b, [](const BackupSet& one, const BackupSet& other) {
        return one.id == other.id && generation_of(one) == generation_of(other);
    });
}

}  // namespace

bool Service::has_own_sets() const {
    return std::ranges::any_of(policy_->sets,
                               [](const auto& entry) { return !entry.second.is_found; });
}

void Service::add_found_sets(Policy& policy) {
    if (!policy.sets.empty()) return found_.clear();
    std::erase_if(found_,
                  [&](const auto& entry) { return !policy.repositories.contains(entry.first); });
    for (const auto& [repository, sets] : found_)
        for (const BackupSet& set : sets) policy.sets.emplace(set.id, set);
}

void Service::found(const std::string& repository, std::vector<BackupSet> sets) {
    if (has_own_sets() || !policy_->repositories.contains(repository)) return;
    std::vector<BackupSet>& known = found_[repository];
    if (are_same(known, sets)) return;
    known = std::move(sets);
    LoadedPolicy loaded{*policy_, problems_, {}};
    std::erase_if(loaded.policy.sets, [](const auto& entry) { return entry.second.is_found; });
    // What is wrong with files that were not taken over stays to be said.
    const std::vector<ConfigProblem> problems = std::exchange(loaded.problems, {});
    apply(std::move(loaded));
    problems_ = problems;
    if (!known.empty())
        events_.add(LogLevel::info,
                    "repository '" + repository + "' holds " +
                        (known.size() == 1 ? "a set" : std::to_string(known.size()) + " sets") +
                        ", and this machine has none: they can be read and restored");
}

}  // namespace backup
