#include "daemon/jobs/tracking_host.h"

#include "daemon/jobs/catalog.h"

namespace backup {

TrackingHost::TrackingHost(Loop& loop, RepositoryPool& pool, EventLog& events,
                           std::function<void(const std::string& set)> changed)
    : loop_(loop), pool_(pool), events_(events), changed_(std::move(changed)) {}

void TrackingHost::set_policy(std::shared_ptr<const Policy> policy) {
    std::lock_guard lock(mutex_);
    policy_ = std::move(policy);
}

Result<std::optional<TrackerHost::Base>> TrackingHost::base_of(const std::string& id) {
    std::shared_ptr<const Policy> policy;
    {
        std::lock_guard lock(mutex_);
        policy = policy_;
    }
    auto set = policy->sets.find(id);
    if (set == policy->sets.end())
        return Error(ErrorKind::not_found, ErrorCode::no_such_set, "there is no set '" + id + "'");
    RepositoryHandle opened = TRY(pool_.open(set->second.repository));
    std::vector<Revision> revisions = all_revisions(TRY(opened->repository->list_revisions()));
    SetOnHost on_host = line_of(set->second);
    std::optional<Revision> parent = pick_parent(revisions, on_host, set->second.paths);
    if (!parent) return std::optional<Base>();
    TRY(opened->repository->refresh_index({}));
    Base base;
    base.revision = parent->entry;
    base.repository = std::shared_ptr<Repository>(opened, opened->repository.get());
    return std::optional<Base>(std::move(base));
}

void TrackingHost::tracking_changed(const std::string& set) {
    loop_.post([this, set, alive = std::weak_ptr<int>(alive_)] {
        if (!alive.expired()) changed_(set);
    });
}

void TrackingHost::tracking_message(LogLevel level, const std::string& message) {
    loop_.post([this, level, message, alive = std::weak_ptr<int>(alive_)] {
        if (!alive.expired()) events_.add(level, message);
    });
}

}  // namespace backup
