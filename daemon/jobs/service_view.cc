// What the service tells: of sets, of repositories, and how well all is.
#include <algorithm>

#include "daemon/guard/guard.h"
#include "daemon/jobs/service.h"
#include "daemon/jobs/set_limits.h"

namespace backup {

Result<const BackupSet*> Service::find_set(const std::string& id) const {
    auto found = policy_->sets.find(id);
    if (found != policy_->sets.end()) return &found->second;
    return Error(ErrorKind::not_found, ErrorCode::no_such_set, "there is no set '" + id + "'");
}

SetStatus Service::set_status(const std::string& id) const {
    auto found = sets_.find(id);
    return found == sets_.end() ? SetStatus{} : found->second;
}

RepositoryFacts Service::repository_facts(const std::string& name) const {
    auto found = repositories_.find(name);
    return found == repositories_.end() ? RepositoryFacts{} : found->second;
}

std::string Service::set_state(const BackupSet& set) const {
    if (const Job* job = runner_.active_backup(set.id))
        return job->state() == JobState::queued   ? "queued"
               : job->state() == JobState::paused ? "paused"
                                                  : "running";
    if (set.is_found) return "found";
    if (!set.enabled) return "disabled";
    if (repository_facts(set.repository).status.state == RepositoryState::damaged) return "error";
    return "idle";
}

std::string Service::state() const {
    if (!problems_.empty()) return "error";
    bool queued = false, held = false;
    for (const Job* job : runner_.jobs()) {
        if (job->is_done()) continue;
        if (job->state() == JobState::queued)
            queued = true;
        else if (job->state() == JobState::paused)
            held = true;
        else
            return "running";
    }
    if (held || pause_now()) return "paused";
    if (queued) return "waiting";
    for (const auto& [id, set] : policy_->sets)
        if (set.enabled && repository_facts(set.repository).status.state == RepositoryState::locked)
            return "locked";
    const Timestamp now = clock_.now();
    for (const auto& [id, set] : policy_->sets)
        if (set.enabled && decide_for(set, now).deferred_since) return "waiting";
    return "idle";
}

std::vector<std::string> Service::notices() const {
    std::vector<std::string> list;
    for (const ConfigProblem& problem : problems_) {
        if (!options_.hide_details) {
            list.push_back("configuration: " + problem.text());
            continue;
        }
        ConfigProblem bare{problem.file, problem.line, "an error: see `backupctl config check`"};
        list.push_back("configuration: " + bare.text());
    }
    for (const Job* job : runner_.jobs())
        if (!job->is_done() && job->stalled_since())
            list.push_back("job " + std::to_string(job->id()) + " (" + job->record().kind +
                           ") has made no progress for long: `backupctl attach " +
                           std::to_string(job->id()) +
                           "` shows where it stands, `backupctl cancel " +
                           std::to_string(job->id()) + "` stops it");
    for (const auto& [id, set] : policy_->sets) {
        const GuardRecord guard = guards_.of(id);
        if (const std::uint64_t count = set_status(id).record.unexplained; count != 0)
            list.push_back("the last full run of set '" + id + "' found " + std::to_string(count) +
                           " differences that no change explains: `backupctl jobs` names it, its "
                           "log lists them; another full run without any ends this");
        for (const LimitNow& limit :
             limits_over(set, set_status(id).record, set_status(id).revision_count, clock_.now()))
            list.push_back("set '" + id + "': " + limit.text + ": " + limit.remedy);
        if (escalated_.contains(id))
            list.push_back("set '" + id + "' waits for too long: `backupctl status " + id +
                           "` says for what, `backupctl run " + id +
                           " --ignore all` does not wait");
        if (guard.is_open())
            list.push_back("set '" + id + "' waits for an answer: `backupctl status " + id +
                           "`, then `backupctl approve " + id + "` or `backupctl reject " + id +
                           "`");
    }
    for (const auto& [name, policy] : policy_->repositories) {
        RepositoryFacts facts = repository_facts(name);
        if (needs_reminder(facts))
            list.push_back("repository '" + name +
                           "' has one key and its recovery sheet was never tested: `backupctl repo "
                           "test " +
                           name + "` with the password from the sheet, or add a second key");
        if (is_collection_late(policy, facts.record, clock_.now()))
            list.push_back("garbage of repository '" + name +
                           "' was not collected for long: `backupctl gc " + name + "` says why");
        if (is_verification_late(policy, facts.record, clock_.now()))
            list.push_back("repository '" + name +
                           "' was not verified for long: `backupctl verify`");
        switch (facts.status.state) {
            case RepositoryState::locked:
                list.push_back("repository '" + name + "' is locked: `backupctl repo unlock " +
                               name + "`");
                break;
            case RepositoryState::damaged:
                list.push_back("repository '" + name + "' is damaged: `backupctl verify`");
                break;
            case RepositoryState::unavailable:
                list.push_back("repository '" + name + "' cannot be reached");
                break;
            case RepositoryState::unopened:
            case RepositoryState::ready:
                break;
        }
    }
    return list;
}

}  // namespace backup
