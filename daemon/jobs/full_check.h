// After a run that read everything again: is its revision what an incremental run would have made?
// What differs from the parent revision must be explained by a change: by stamps where changes are
// not tracked, else by what was marked. What nothing explains is an alarm: content that changed
// behind the file's stamps (a failing disk, a tool that sets times back), or a change that tracking
// missed. A job's thread; blocking, waits up to five seconds for events that are on their way.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "daemon/archive/reread.h"
#include "daemon/archive/tree_difference.h"
#include "daemon/policy/policy.h"
#include "daemon/repository/repository.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct FullCheck {
    BlobId before, after;
    const BackupSet* set = nullptr;
    // Whether something marks the path; empty: changes are not tracked, and stamps explain.
    std::function<bool(const std::string& path)> is_marked;
    std::vector<std::string> explained;  // could not be read, or were being written to
    const Reread* reread = nullptr;      // files whose stamps prove nothing, after a power loss
    Duration patience = std::chrono::seconds(5);
    Fs* fs = nullptr;  // nullptr: the real one
};
struct Unexplained {
    std::string path;
    bool is_content = false;  // content behind the stamps; else a change that was not tracked
};
struct FullCheckResult {
    std::uint64_t differences = 0;  // between the two revisions
    std::vector<Unexplained> unexplained;
    bool is_whole = true;  // false: there were too many changes to look at each
};
Result<FullCheckResult> check_full(BlobSource& source, const FullCheck& check,
                                   const std::stop_token& stop);

}  // namespace backup
