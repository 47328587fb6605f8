// Configuration reads the policy files and writes those that clients make or change. Blocking;
// calls must not overlap: the daemon runs them one after the other on a thread of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/policy/config_file.h"
#include "daemon/policy/policy.h"

namespace backup {

// All problems in one sentence each, the first line says how many.
Error problems_as_error(const std::vector<ConfigProblem>& problems);
// Changes when any value of the set changes; the same for the same values, also after a restart.
std::uint64_t generation_of(const BackupSet& set);

class Configuration {
  public:
    Configuration(std::string config_dir, std::string vendor_dir)
        : config_dir_(std::move(config_dir)), vendor_dir_(std::move(vendor_dir)) {}

    const std::string& config_dir() const { return config_dir_; }
    LoadedPolicy load() const;

    // Refused before anything is written: names, patterns, a repository that is not configured, and
    // any problem of the files that are there. Paths need not exist: a disk may come later.
    Result<> check_set(const BackupSet& set) const;
    // As it would be in force: with the patterns of [defaults] and of its presets.
    Result<BackupSet> effective(const BackupSet& set) const;
    Result<> write_set(const BackupSet& set) const;
    Result<> write_new_set(
        const BackupSet& set) const;  // `conflict` when its file is there already
    Result<> check_repository(const RepositoryPolicy& repository) const;
    Result<> write_repository(const RepositoryPolicy& repository) const;
    // `unsupported` for what is defined elsewhere than in its own file below CONFIG.
    Result<> remove_set(const BackupSet& set) const;
    Result<> remove_repository(const RepositoryPolicy& repository) const;
    Result<> forget_secret(const std::string& name) const;

  private:
    std::string set_file(const std::string& id) const;
    std::string repository_file(const std::string& name) const;

    std::string config_dir_, vendor_dir_;
};

}  // namespace backup
