// Follows jobs to their end: progress while they run, a summary or a result object when they are
// over, and the exit code a script gets. Main thread; Ctrl-C is taken as "stop watching", the job
// goes on.
#pragma once

#include <string>
#include <vector>

#include "ctl/context.h"
#include "ctl/interrupt.h"
#include "ctl/job_words.h"

namespace backup {

struct FollowOptions {
    bool wait = true;
    // Shown after a job that ended with Conflict, above the list of what is in the way.
    std::string conflict_help;
    // The jobs only plan: what they would do is shown, step by step.
    bool is_plan = false;
    std::string target;  // that the paths of a plan are below; empty: they are whole
};

// Call client.watch_jobs() before starting the jobs. Names for messages come from each job's
// target.
Result<ExitCode> follow_jobs(Context& context, const std::vector<std::string>& jobs,
                             const FollowOptions& options);

// Of a job that came to no good end, with the code that following it would have given.
Error error_of(const JobView& view);

// Whether a verb that waits only for people should wait: --wait, --no-wait, else a terminal.
bool waits_for_people(const Context& context);

}  // namespace backup
