// Commands of the administrator around a run. They run on the job's thread, with its stop and a
// time limit, and learn from their environment what it is about.
#pragma once

#include <string>

#include "common/result.h"
#include "daemon/jobs/job.h"
#include "daemon/policy/policy.h"
#include "daemon/runtime/replaced_fs.h"

namespace backup {

struct HookFacts {
    std::string set, trigger, mode;
    // Behind a run: how it ended, and the revision that it made (hex, or empty).
    std::string outcome, revision;
};

// Without a command: success. An error says why the run is not to begin; where the policy does not
// insist it is only told in the job's log. What it names on its standard output stands for paths of
// the set; see named_replacements().
Result<std::vector<Replacement>> run_hook_before(const BackupSet& set, const HookFacts& facts,
                                                 JobContext& job);
// Lines "replace PATH=OTHER", PATH one of the set's paths, OTHER absolute; other lines mean
// nothing. `invalid` for a line that begins so and cannot be understood.
Result<std::vector<Replacement>> named_replacements(const std::string& output,
                                                    const BackupSet& set);
// Whatever became of the run. A failure is told in the job's log.
void run_hook_after(const Hooks& hooks, const HookFacts& facts, JobContext& job);

}  // namespace backup
