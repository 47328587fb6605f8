// What is known about the protection of one path: which sets hold it, what leaves it out, whether
// it waits, which version the newest revision has, and what stands in the way. Blocking (the live
// object, the repository, names of the queue); for I/O threads.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "common/path.h"
#include "common/result.h"
#include "common/wire.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/jobs/set_limits.h"
#include "daemon/policy/exclusion.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/tree.h"
#include "daemon/runtime/fs.h"
#include "daemon/tracking/tracker.h"

namespace backup {

// What only the loop knows of a set.
struct SetNow {
    std::vector<std::string> blocked_by;
    std::optional<Timestamp> next_run;
    GuardRecord guard;
    SetRecord record;
    std::uint64_t revisions = 0;
};

struct ExplainTask {
    std::shared_ptr<const Policy> policy;
    std::map<std::string, SetNow> sets;
    std::vector<Path> own;  // places of our own, never entered
    RepositoryPool* pool = nullptr;
    Tracker* tracker = nullptr;  // nullptr: off
    Fs* fs = nullptr;            // nullptr: the real one
};

// Protected: the newest revision has it as it is. Pending: the next one will. Unknown: the
// repository or the tracker cannot say. Missing: neither on the disk nor in the newest revision.
enum class PathState : std::uint8_t { protected_, pending, excluded, outside, missing, unknown };
const char* to_string(PathState state);

// As the newest revision has it.
struct VersionFound {
    std::string revision;
    std::uint64_t number = 0;
    Timestamp revision_time{};
    std::string type;
    std::uint64_t size = 0;
    Timestamp modified{};
};

struct PathInSetNow {
    std::string set;
    PathState state = PathState::unknown;
    PathInSet place;
    TrackingStatus tracking;
    std::optional<QueueEntry> pending;
    std::uint64_t pending_below = 0;  // of a directory
    bool more_below = false;          // and more that were not counted
    std::optional<VersionFound> version;
    std::string version_problem;  // why no version is known
    // What it is beyond, if it waits for that.
    std::optional<LimitNow> limit;
    std::string question;  // of a guard, about the set; empty: none
    // disabled by-hand guard tracking-off tracking-scanning tracking-degraded locked offline held
    // limit
    std::vector<std::string> blocked_by;
    std::optional<Timestamp> next_run;
};

struct Explanation {
    Path path;
    bool exists = false;
    std::string problem;  // why the live object could not be looked at
    std::string type;     // file directory symlink fifo socket device
    std::uint64_t size = 0;
    Timestamp modified{};
    PathState state = PathState::outside;  // the best of the sets
    std::vector<PathInSetNow> sets;
};

Explanation explain(const ExplainTask& task, const Path& path);

// The answer of Manager.Explain: of the path, and of each set.
wire::Dict explanation_dict(const Explanation& explanation);
wire::Dict explanation_dict(const PathInSetNow& set);

}  // namespace backup
