// What a policy says of when and how much, in both directions: keys of configuration files, and
// texts of the bus. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "daemon/policy/config_file.h"
#include "daemon/policy/config_table.h"
#include "daemon/policy/policy.h"

namespace backup {

// windows
void read_windows(ConfigTable& table, std::vector<Window>& out);
// windows jitter max-deferral avoid upload-rate download-rate priority, [hooks]
void read_timing(ConfigTable& table, const std::string& file, LoadedPolicy& into, BackupSet& set);
// [rates], [health], [metrics], [conditions]
void read_rates(const TomlValue& root, const std::string& file, LoadedPolicy& into);
void read_health(const TomlValue& root, const std::string& file, LoadedPolicy& into);
void read_metrics(const TomlValue& root, const std::string& file, LoadedPolicy& into);
void read_conditions(const TomlValue& root, const std::string& file, LoadedPolicy& into);

// Lines that read back to the same; with `hints`, what is left at its default as a comment.
std::string timing_body(const BackupSet& set, bool hints);
std::string windows_line(const std::vector<Window>& windows);  // "" without any
// The body of the table; "" when all is at its default.
std::string hooks_body(const Hooks& hooks);
std::string service_tables(const Policy& policy);

// As texts travel on the bus.
Result<std::vector<Window>> parse_windows(const std::vector<std::string>& texts);
std::vector<std::string> format_windows(const std::vector<Window>& windows);
// "" or "window": most of the window; else an interval.
Result<std::optional<std::uint64_t>> parse_jitter(const std::string& text);
std::string format_jitter(const std::optional<std::uint64_t>& jitter);
// Words of conditions; {"default"}: what fits the storage; {"none"}: nothing is avoided.
Result<std::optional<std::vector<std::string>>> parse_avoid(const std::vector<std::string>& words);
std::vector<std::string> format_avoid(const std::optional<std::vector<std::string>>& avoid);

}  // namespace backup
