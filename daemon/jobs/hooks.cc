#include "daemon/jobs/hooks.h"

#include "daemon/runtime/command.h"

namespace backup {

namespace {

// What is wrong with it; empty: nothing.
std::string run(const std::vector<std::string>& argv, const Hooks& hooks, const HookFacts& facts,
                JobContext& job, std::stop_token stop) {
    CommandRequest request;
    request.argv = argv;
    request.timeout = std::chrono::seconds(hooks.timeout_seconds);
    request.environment = {
        {"BACKUPD_SET", facts.set},         {"BACKUPD_JOB", std::to_string(job.id)},
        {"BACKUPD_TRIGGER", facts.trigger}, {"BACKUPD_MODE", facts.mode},
        {"BACKUPD_OUTCOME", facts.outcome}, {"BACKUPD_REVISION", facts.revision}};
    auto ran = run_command(request, std::move(stop));
    if (!ran.ok()) return "cannot be run: " + ran.error().message();
    return ran->succeeded() ? std::string() : ran->sentence();
}

}  // namespace

Result<> run_hook_before(const Hooks& hooks, const HookFacts& facts, JobContext& job) {
    if (hooks.before.empty()) return {};
    const std::string problem = run(hooks.before, hooks, facts, job, job.stop);
    if (problem.empty()) return {};
    if (job.stop.stop_requested())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
    if (hooks.must_succeed)
        return Error(ErrorKind::io, "the command before the run " + problem + "; nothing was read");
    job.message(LogLevel::warning, "the command before the run " + problem);
    return {};
}

void run_hook_after(const Hooks& hooks, const HookFacts& facts, JobContext& job) {
    if (hooks.after.empty()) return;
    // Also behind a run that was stopped: what the one before began must be ended.
    const std::string problem = run(hooks.after, hooks, facts, job, {});
    if (!problem.empty()) job.message(LogLevel::warning, "the command behind the run " + problem);
}

}  // namespace backup
