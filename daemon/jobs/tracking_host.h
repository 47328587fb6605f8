// TrackingHost is what the tracker sees of the daemon: the revision that a set continues, and where
// to tell what changed. Its answers are given on the tracker's threads; what it tells goes to the
// loop.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/jobs/event_log.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/runtime/loop.h"
#include "daemon/tracking/tracker.h"

namespace backup {

class TrackingHost final : public TrackerHost {
  public:
    // `changed` is called on the loop.
    TrackingHost(Loop& loop, RepositoryPool& pool, EventLog& events,
                 std::function<void(const std::string& set)> changed);

    void set_policy(std::shared_ptr<const Policy> policy);

    Result<std::optional<Base>> base_of(const std::string& set) override;
    void tracking_changed(const std::string& set) override;
    void tracking_message(LogLevel level, const std::string& message) override;

  private:
    Loop& loop_;
    RepositoryPool& pool_;
    EventLog& events_;
    const std::function<void(const std::string&)> changed_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    std::mutex mutex_;  // guards policy_
    std::shared_ptr<const Policy> policy_;
};

}  // namespace backup
