#include "daemon/jobs/hooks.h"

#include <algorithm>
#include <sstream>

#include "daemon/runtime/command.h"

namespace backup {

namespace {

// What is wrong with it; empty: nothing.
std::string run(const std::vector<std::string>& argv, const Hooks& hooks, const HookFacts& facts,
                JobContext& job, std::stop_token stop, std::string* output = nullptr) {
    CommandRequest request;
    request.argv = argv;
    request.timeout = std::chrono::seconds(hooks.timeout_seconds);
    request.environment = {
        {"BACKUPD_SET", facts.set},         {"BACKUPD_JOB", std::to_string(job.id)},
        {"BACKUPD_TRIGGER", facts.trigger}, {"BACKUPD_MODE", facts.mode},
        {"BACKUPD_OUTCOME", facts.outcome}, {"BACKUPD_REVISION", facts.revision}};
    auto ran = run_command(request, std::move(stop));
    if (!ran.ok()) return "cannot be run: " + ran.error().message();
    if (output != nullptr) *output = std::move(ran->output);
    return ran->succeeded() ? std::string() : ran->sentence();
}

}  // namespace

Result<std::vector<Replacement>> named_replacements(const std::string& output,
                                                    const BackupSet& set) {
    constexpr std::string_view kWord = "replace ";
    std::vector<Replacement> named;
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(kWord)) continue;
        const std::string_view rest = std::string_view(line).substr(kWord.size());
        // A path may hold a "=": the one behind a path of the set is meant.
        const auto path = std::ranges::find_if(set.paths, [&](const Path& one) {
            return rest.starts_with(one.text()) && rest.substr(one.text().size()).starts_with('=');
        });
        if (path == set.paths.end())
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "\"" + printable(line) +
                             "\" does not name a path of the set: write replace PATH=OTHER");
        const auto is_named = std::ranges::any_of(
            named, [&](const Replacement& other) { return other.path == *path; });
        if (is_named)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "two places stand for " + printable(path->text()));
        named.push_back(
            {*path, TRY(Path::parse(std::string(rest.substr(path->text().size() + 1))))});
    }
    return named;
}

Result<std::vector<Replacement>> run_hook_before(const BackupSet& set, const HookFacts& facts,
                                                 JobContext& job) {
    const Hooks& hooks = set.hooks;
    std::vector<Replacement> named;
    if (hooks.before.empty()) return named;
    std::string output;
    std::string problem = run(hooks.before, hooks, facts, job, job.stop, &output);
    if (problem.empty()) {
        auto replacements = named_replacements(output, set);
        if (replacements.ok()) return replacements;
        problem = "said what cannot be followed: " + replacements.error().message();
    }
    if (job.stop.stop_requested())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "cancelled");
    if (hooks.must_succeed)
        return Error(ErrorKind::io, "the command before the run " + problem + "; nothing was read");
    job.message(LogLevel::warning, "the command before the run " + problem);
    return named;
}

void run_hook_after(const Hooks& hooks, const HookFacts& facts, JobContext& job) {
    if (hooks.after.empty()) return;
    // Also behind a run that was stopped: what the one before began must be ended.
    const std::string problem = run(hooks.after, hooks, facts, job, {});
    if (!problem.empty()) job.message(LogLevel::warning, "the command behind the run " + problem);
}

}  // namespace backup
