// Text to Policy. Pure but for load_policy, which reads the files. Every problem has file and line;
// the old policy is kept by the caller when there is one. Unknown keys and wrong types are errors
// that name the nearest valid key.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "daemon/policy/policy.h"

namespace backup {

struct ConfigProblem {
    std::string file;
    unsigned line = 0;  // 0: the whole file
    std::string message;
    std::string text() const;  // "file:line: message"
};

struct LoadedPolicy {
    Policy policy;  // valid only without problems
    std::vector<ConfigProblem> problems;
    ExcludeRules defaults;  // of [defaults]: taken over by every set parsed later
    // Set to the place of its "repository", for check_policy().
    std::map<std::string, std::pair<std::string, unsigned>> repository_lines;
};

// Reads, later ones winning: VENDOR/backupd.toml, CONFIG/backupd.toml, then repositories.d/*.toml,
// presets.d/*.toml and sets.d/*.toml of both. `vendor_dir` may be several folders divided by ":",
// the last of them winning. Within one folder a name may be given once. Missing files and folders
// are fine. Checks the whole: every set names a repository that exists, has paths, all absolute.
LoadedPolicy load_policy(const std::string& config_dir, const std::string& vendor_dir);

// One file each, for tests and fuzzing. `name` is the set's or repository's name (from the file
// name).
void parse_main_config(const std::string& text, const std::string& file, LoadedPolicy& into);
void parse_set_config(const std::string& text, const std::string& file, const std::string& name,
                      LoadedPolicy& into);
void parse_repository_config(const std::string& text, const std::string& file,
                             const std::string& name, LoadedPolicy& into);
void parse_preset(const std::string& text, const std::string& file, const std::string& name,
                  LoadedPolicy& into);
void check_policy(LoadedPolicy& loaded);  // what concerns several files

// The text of a file that parses back to the same values, with comments for the person who will
// edit it.
std::string format_set_config(const BackupSet& set);
std::string format_repository_config(const RepositoryPolicy& repository);
// Everything, effective, as one backupd.toml with [set.NAME] tables. Holds no passwords; a URL may.
std::string format_policy(const Policy& policy);
// [a-zA-Z0-9][a-zA-Z0-9._-]*, at most 64 bytes.
bool is_valid_name(std::string_view name);

}  // namespace backup
