// What the administrator asked for, as plain structs. Immutable after loading: the loop swaps a
// whole Policy.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/path.h"
#include "daemon/policy/drill_rules.h"
#include "daemon/policy/presets.h"
#include "daemon/policy/set_limits.h"
#include "daemon/policy/window.h"

namespace backup {

// Longer than any job runs.
inline constexpr std::uint64_t kLeastGraceSeconds = 86'400;

struct RepositoryPolicy {
    std::string name;  // [a-zA-Z0-9._-]+, the key of [repository.NAME]
    std::string url;
    std::string password_file;  // empty: credential repo-password.NAME, else CONFIG/secrets/NAME
    // What becomes of data that nobody needs: how long a forgotten revision can be taken back, how
    // long a pack is marked before it is removed, how often that is looked into (0: when asked).
    std::uint64_t trash_seconds = 7 * 86'400;
    std::uint64_t grace_seconds = kLeastGraceSeconds;
    std::uint64_t collect_seconds = 86'400;
    std::uint64_t collect_rate = 0;  // bytes a second that a collection copies; 0: no limit
    unsigned waste_percent = 25;     // packs with more than this of garbage are written anew
    bool append_only = false;        // nothing is ever removed from there by this machine
    std::vector<Window> windows;     // when anything may be uploaded there; none: always
    // How often it is verified by itself (0: when asked), and how much of its content then.
    std::uint64_t verify_seconds = 0;
    unsigned verify_percent = 5;
    std::string origin;  // file:line, for messages
};

struct ExcludeRules {
    // gitignore-like patterns in order, "!" re-includes; see matcher.h for the exact semantics.
    std::vector<std::string> patterns;
    std::size_t inherited = 0;  // that many of them, at the front, come from [defaults] and presets
    bool cachedir_tag = true;   // directories with a valid CACHEDIR.TAG keep only the tag
    bool nodump = true;         // files with the nodump attribute (chattr +d)
    bool other_filesystems = false;  // true: stay on the file system of each path of the set
    std::uint64_t larger_than = 0;   // bytes; 0: no limit
    // file:line of each pattern, for people; shorter than `patterns` for those that came otherwise.
    std::vector<std::string> origins;
};

// Which revisions of a set are kept; see daemon/retention/retention.h for the meaning. Without any
// rule all of them are.
struct KeepRules {
    std::uint32_t last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
    std::uint64_t within_seconds = 0;
    std::vector<std::string> tags;
    std::uint32_t minimum = 3;  // at least that many, whatever the rules say

    bool any() const {
        return last != 0 || hourly != 0 || daily != 0 || weekly != 0 || monthly != 0 ||
               yearly != 0 || within_seconds != 0 || !tags.empty();
    }
    bool operator==(const KeepRules&) const = default;
};

// What of a run's changes is asked about; see daemon/guard/guard.h for the meaning. Percentages of
// the files that the last revision has (opaque: of those that could be compressed); 0: never.
struct GuardRules {
    std::uint32_t gone = 50;     // so many files fewer: no revision is made
    std::uint32_t removed = 30;  // removed or renamed
    std::uint32_t changed = 50;  // rewritten
    std::uint32_t opaque = 50;   // rewritten so that they cannot be compressed any more
    std::uint32_t least = 50;    // files: with fewer of them nothing is asked; a fifth for `gone`
    bool operator==(const GuardRules&) const = default;
};

// Commands of the administrator around a run of a set: a program and its arguments, no shell.
struct Hooks {
    std::vector<std::string> before, after;
    std::uint64_t timeout_seconds = 600;
    bool must_succeed = true;  // a run is not begun when `before` fails
    bool operator==(const Hooks&) const = default;
};

struct BackupSet {
    std::string id;  // [a-zA-Z0-9._-]+, the name of its file
    std::string title;
    std::vector<Path> paths;
    std::string repository;  // name of a RepositoryPolicy
    ExcludeRules exclude;
    std::vector<std::string> presets;  // names of Policy::presets whose patterns `exclude` has
    Limits limits;
    bool enabled = true;
    std::string hostname;            // empty: gethostname
    std::vector<std::string> adopt;  // "HOST/SET": lines of revisions that this set goes on with
    // Not 0: a revision is made when the last begin is this old, whether or not anything changed.
    std::uint64_t interval_seconds = 0;
    // A revision is made when changes have settled: nothing happened to them for settle_ms, and the
    // last begin of a run is min_interval_seconds ago.
    bool automatic = true;
    std::uint64_t settle_ms = 2000;
    std::uint64_t min_interval_seconds = 15 * 60;
    // Everything is read again and compared when that was last done so long ago; 0: when asked.
    std::uint64_t reconcile_seconds = 30 * 86'400;
    // When it may upload; none: always. Each run begins a share of jitter_seconds after a window
    // opened that differs from machine to machine; nothing: of most of the window.
    std::vector<Window> windows;
    std::optional<std::uint64_t> jitter_seconds;
    // A run that is put off for longer is told as a fault; 0: never.
    std::uint64_t max_deferral_seconds = 86'400;
    // Conditions of the machine that its runs wait out: battery metered offline pressure
    // power-saver. Nothing: metered and offline, for storage that is reached over a network.
    std::optional<std::vector<std::string>> avoid;
    std::uint64_t upload_rate = 0, download_rate = 0;  // bytes a second; 0: no limit
    unsigned priority = 50;                            // of sets that are due, the highest first
    Hooks hooks;
    KeepRules keep;
    GuardRules guard;
    DrillRules drill;
    std::string origin;
    bool is_found = false;  // of no file: see daemon/jobs/found_sets.h
};

// How changes are noticed. A period of 0 switches the thing off.
struct TrackingPolicy {
    // fanotify, inotify, scan: what is tried for each volume, in this order. Scanning is the last
    // resort also when it is not named.
    std::vector<std::string> watching = {"fanotify", "inotify", "scan"};
    Duration census_period = std::chrono::seconds(60);
    Duration scrub_period = std::chrono::hours(24);
    // Of the files that look unchanged, the share whose content is read again in each scrub period.
    unsigned scrub_content_percent = 1;
    Duration canary_period = std::chrono::minutes(10);
    Duration degraded_scan_period = std::chrono::minutes(15);
    std::uint64_t most_watches = 0;  // inotify; 0: as many as the kernel allows

    bool operator==(const TrackingPolicy&) const = default;
};

struct Policy {
    std::map<std::string, RepositoryPolicy> repositories;
    std::map<std::string, BackupSet> sets;
    Presets presets = shipped_presets();
    unsigned read_threads = 0;  // 0: chosen from the machine
    int compression_level = 3;
    unsigned read_back_percent = 1;  // of what is stored, before a revision relies on it
    std::uint64_t pack_bytes = std::uint64_t{16} << 20;
    std::uint64_t checkpoint_bytes = std::uint64_t{128} << 20;  // read between two checkpoints
    // Which rules trees are written with: "auto" follows the parent snapshot, else "go119" or
    // "go122".
    std::string tree_rules = "auto";
    TrackingPolicy tracking;
    std::uint64_t upload_rate = 0, download_rate = 0;  // of all together; bytes a second
    // Called once per change of health; empty: nobody.
    std::vector<std::string> health_command;
    std::string metrics_file;        // for node_exporter's textfile collector; empty: none
    unsigned pressure_percent = 40;  // of PSI's "some" over ten seconds, from which on it is busy
};

}  // namespace backup
