// A simulation says what a run of a set would take in now, what its rules leave out and what its
// limits do not let in, with sizes; nothing is read but metadata, nothing stored. Blocking.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "daemon/archive/admission.h"
#include "daemon/jobs/repository_pool.h"
#include "daemon/policy/policy.h"
#include "daemon/runtime/fs.h"

namespace backup {

struct SimulationTask {
    BackupSet set;          // effective: with the patterns of its presets
    std::vector<Path> own;  // places of our own, never entered
    // Where its revisions are; nullptr, or a repository that cannot be read: as if it had none.
    RepositoryPool* pool = nullptr;
    std::uint64_t churn_before = 0;
    Duration longest = std::chrono::minutes(10);  // then it tells what it has
    Fs* fs = nullptr;                             // nullptr: the real one
};

struct Simulation {
    struct OfPath {
        std::string path;
        std::uint64_t items = 0, bytes = 0;
    };
    // What one rule leaves out.
    struct OfRule {
        std::string rule, pattern, origin;  // see RuleFound
        std::string example;                // the first place
        std::uint64_t places = 0, items = 0, bytes = 0;
    };
    struct LeftOut {
        std::string path, limit;
    };
    static constexpr std::size_t kMostLeftOut = 100;

    std::vector<OfPath> paths;
    std::vector<OfRule> rules;  // the largest first
    std::vector<LeftOut> left_out;
    bool more_left_out = false;
    Measured measured;
    LimitReport limits;
    std::uint64_t kept_old = 0;
    std::uint64_t revisions = 0;
    bool is_partial = false;  // there was no time for all of it
    std::string problem;      // why the revisions are not known
};
// The error: none of the set's paths can be looked at, or a pattern does not compile.
Result<Simulation> simulate(const SimulationTask& task, std::stop_token stop);

}  // namespace backup
