// A Tracker that says what the test told it to say.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/tracking/tracker.h"

namespace backup {

class FakeTracker final : public Tracker {
  public:
    TrackingStatus now;
    std::vector<QueueEntry> entries;
    std::size_t asked_limit = 0;

    void set_policy(std::shared_ptr<const Policy>, std::vector<std::string>) override {}
    void repository_returned(const std::string&) override {}
    void accept_absence(const std::string&) override {}
    TrackingStatus status(const std::string&) const override { return now; }
    Result<std::vector<QueueEntry>> queue(const std::string&, std::size_t limit) override {
        asked_limit = limit;
        auto all = entries;
        if (limit != 0 && all.size() > limit) all.resize(limit);
        return all;
    }
    Result<std::optional<QueueEntry>> pending(const std::string&,
                                              const std::string& path) override {
        for (const QueueEntry& entry : entries)
            if (entry.path == path) return std::optional(entry);
        return std::optional<QueueEntry>();
    }
    Result<std::unique_ptr<TrackedRun>> begin_run(const std::string&,
                                                  const std::optional<RevisionId>&, bool) override {
        return Error(ErrorKind::io, "nothing runs here");
    }
    void revision_rewritten(const std::string&, const RevisionId&, const RevisionId&) override {}
};

}  // namespace backup
