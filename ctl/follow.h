// Follows jobs to their end: progress while they run, a summary or a result object when they are
// over, and the exit code a script gets. Main thread; Ctrl-C is taken as "stop watching", the job
// goes on.
#pragma once

#include <string>
#include <vector>

#include "ctl/context.h"

namespace backup {

// Blocks SIGINT and SIGTERM while it lives and makes them readable at fd().
class InterruptGuard {
  public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    int fd() const { return fd_.get(); }

  private:
    UniqueFd fd_;
};

struct FollowOptions {
    bool wait = true;
    // Shown after a job that ended with Conflict, above the list of what is in the way.
    std::string conflict_help;
};

// Call client.watch_jobs() before starting the jobs. Names for messages come from each job's
// target.
Result<ExitCode> follow_jobs(Context& context, const std::vector<std::string>& jobs,
                             const FollowOptions& options);

// Whether a verb that waits only for people should wait: --wait, --no-wait, else a terminal.
bool waits_for_people(const Context& context);

// A dictionary of counters as the "counts" object: '-' in keys becomes '_'; only the integers.
JsonObject counts_object(const Dict& details);

// One line: "12 new, 3 changed and 120 unmodified files, 1.2 MiB read, 0.3 MiB stored".
std::string counts_sentence(const std::string& kind, const Dict& details, const Looks& looks);

// The outcome with its glyph: "✓ complete", "! exceptions", "✗ failed".
std::string outcome_text(std::string_view outcome, const Looks& looks);
Tone outcome_tone(std::string_view outcome);

}  // namespace backup
