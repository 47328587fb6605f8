// The other half of config_file.h: values to text.
#include <span>

#include "common/bytes.h"
#include "common/path.h"
#include "daemon/policy/config_file.h"
#include "daemon/policy/guard_rules.h"
#include "daemon/policy/keep_rules.h"
#include "daemon/policy/limit_rules.h"
#include "daemon/policy/timing.h"
#include "daemon/policy/toml_document.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

std::string element(std::string_view text) {
    return is_utf8(text) ? toml_quoted(text) : "{base64 = \"" + to_base64(as_bytes(text)) + "\"}";
}

std::string line(std::string_view key, std::string_view value) {
    return std::string(key) + " = " + std::string(value) + "\n";
}

template <typename Text>
std::string list(std::string_view key, std::size_t first, std::size_t end, Text text) {
    if (end - first == 1) return line(key, "[" + element(text(first)) + "]");
    std::string out = std::string(key) + " = [\n";
    for (std::size_t i = first; i < end; ++i) out += "    " + element(text(i)) + ",\n";
    return out + "]\n";
}

const char* flag(bool value) {
    return value ? "true" : "false";
}

// "off" would read as if there were no automatic runs.
std::string gap_text(std::uint64_t seconds) {
    return seconds == 0 ? "0" : format_interval(seconds);
}

// `hints`: what is left at its default is shown as a comment.
std::string set_body(const BackupSet& set, bool hints, bool inherited) {
    const ExcludeRules& exclude = set.exclude;
    const auto hint = [&](std::string_view key, std::string_view example,
                          std::string_view meaning) {
        return hints ? "# " + std::string(key) + " = " + std::string(example) + "    # " +
                           std::string(meaning) + "\n"
                     : std::string();
    };
    std::string out;
    if (!set.title.empty()) out += line("title", toml_quoted(set.title));
    out += line("repository", toml_quoted(set.repository));
    out += list("paths", 0, set.paths.size(),
                [&](std::size_t i) { return std::string_view(set.paths[i].text()); });
    // Where they are inherited their patterns are listed, and would count twice.
    if (!inherited && !set.presets.empty())
        out += list("presets", 0, set.presets.size(),
                    [&](std::size_t i) { return std::string_view(set.presets[i]); });
    else if (!inherited)
        out += hint("presets", R"(["caches"])", "lists of patterns that come with the program");
    const std::size_t first = inherited ? 0 : std::min(exclude.inherited, exclude.patterns.size());
    if (first != exclude.patterns.size()) {
        out += list("exclude", first, exclude.patterns.size(),
                    [&](std::size_t i) { return std::string_view(exclude.patterns[i]); });
    } else {
        out += hint("exclude", R"(["*.tmp", "node_modules/", "/home/*/.cache/"])",
                    "as in .gitignore, from the root");
    }
    out += exclude.cachedir_tag
               ? hint("cachedir-tag", "true", "leave out directories marked by CACHEDIR.TAG")
               : line("cachedir-tag", "false");
    out += exclude.nodump
               ? hint("nodump", "true", "leave out files with the attribute d (chattr +d)")
               : line("nodump", "false");
    out += exclude.other_filesystems
               ? line("one-file-system", "true")
               : hint("one-file-system", "false", "stay on the file system of each path");
    out += exclude.larger_than != 0
               ? line("larger-than", toml_quoted(format_size(exclude.larger_than)))
               : hint("larger-than", "\"4GiB\"", "leave out larger files");
    out += set.enabled ? hint("enabled", "true", "false: the set is switched off")
                       : line("enabled", "false");
    if (!set.hostname.empty()) out += line("hostname", toml_quoted(set.hostname));
    if (!set.adopt.empty())
        out += list("adopt", 0, set.adopt.size(),
                    [&](std::size_t i) { return std::string_view(set.adopt[i]); });
    out += set.interval_seconds != 0
               ? line("interval", toml_quoted(format_interval(set.interval_seconds)))
               : hint("interval", "\"1h\"", "run when the last run began this long ago");
    const BackupSet plain;
    out += set.automatic ? hint("automatic", "true", "run when changes have settled")
                         : line("automatic", "false");
    out += set.settle_ms != plain.settle_ms
               ? line("settle", toml_quoted(format_short_interval(set.settle_ms)))
               : hint("settle", "\"2s\"", "how long a change must have been quiet");
    out += set.min_interval_seconds != plain.min_interval_seconds
               ? line("min-interval", toml_quoted(gap_text(set.min_interval_seconds)))
               : hint("min-interval", "\"15min\"", "between two automatic runs");
    out += set.reconcile_seconds != plain.reconcile_seconds
               ? line("reconcile", toml_quoted(set.reconcile_seconds == 0
                                                   ? "off"
                                                   : format_interval(set.reconcile_seconds)))
               : hint("reconcile", "\"30d\"", "read everything again and compare");
    return out + timing_body(set, hints);
}

// Only what is not at its default; "" when all is.
std::string keep_body(const KeepRules& keep) {
    const KeepRules plain;
    std::string out;
    for (const auto& [key, member] : kKeepCounts)
        if (keep.*member != plain.*member) out += line(key, std::to_string(keep.*member));
    if (keep.within_seconds != 0)
        out += line("within", toml_quoted(format_interval(keep.within_seconds)));
    if (!keep.tags.empty())
        out += list("tags", 0, keep.tags.size(),
                    [&](std::size_t i) { return std::string_view(keep.tags[i]); });
    return out;
}

std::string repository_body(const RepositoryPolicy& repository) {
    const RepositoryPolicy plain;
    std::string out = line("url", toml_quoted(repository.url));
    if (!repository.password_file.empty())
        out += line("password-file", toml_quoted(repository.password_file));
    const auto interval = [&](std::string_view key, std::uint64_t value, std::uint64_t usual) {
        if (value != usual)
            out += line(key, toml_quoted(value == 0 ? "off" : format_interval(value)));
    };
    interval("trash", repository.trash_seconds, plain.trash_seconds);
    interval("grace", repository.grace_seconds, plain.grace_seconds);
    interval("collect", repository.collect_seconds, plain.collect_seconds);
    if (repository.collect_rate != 0)
        out += line("collect-rate", toml_quoted(format_size(repository.collect_rate)));
    if (repository.waste_percent != plain.waste_percent)
        out += line("waste", std::to_string(repository.waste_percent));
    if (repository.append_only) out += line("append-only", flag(true));
    interval("verify", repository.verify_seconds, plain.verify_seconds);
    if (repository.verify_percent != plain.verify_percent)
        out += line("verify-data", std::to_string(repository.verify_percent));
    return out + windows_line(repository.windows);
}

// A table of its own: it must come last.
std::string keep_section(const KeepRules& keep) {
    const std::string body = keep_body(keep);
    if (!body.empty()) return "\n[keep]\n" + body;
    return "\n# Without rules every revision is kept.\n# [keep]\n# daily = 14    # the newest of "
           "each of the last 14 days that have one\n# weekly = 8\n# monthly = 12\n# yearly = 10\n";
}

std::string guard_body(const GuardRules& guard) {
    std::string out;
    for (const GuardRuleName& rule : kGuardRules)
        if (guard.*rule.member != GuardRules{}.*rule.member)
            out += line(rule.name, std::to_string(guard.*rule.member));
    return out;
}

std::string guard_section(const GuardRules& guard) {
    const std::string body = guard_body(guard);
    if (!body.empty()) return "\n[guard]\n" + body;
    return "\n# What is asked about before it becomes the newest revision; 0: nothing.\n# [guard]\n"
           "# gone = 50     # percent of the files are not there any more\n";
}

std::string limits_section(const Limits& limits) {
    const std::string tables = limits_tables(limits, "limits");
    if (!tables.empty()) return tables;
    return "\n# Over a soft limit you are told, over a hard one nothing new is taken in.\n"
           "# [limits.hard]\n# items = 2000000    # files and folders\n# bytes = \"500GiB\"\n";
}

std::string drill_section(const DrillRules& drill) {
    const std::string body = drill_body(drill);
    if (!body.empty()) return "\n[drill]\n" + body;
    return "\n# Files that are given back for a try, at random; every = \"off\": when asked.\n"
           "# [drill]\n# every = \"7d\"\n# files = 64\n# bytes = \"256MiB\"\n";
}

std::string section(std::string_view name, const std::string& body) {
    return body.empty() ? body : "\n[" + std::string(name) + "]\n" + body;
}

std::string tracking_body(const TrackingPolicy& tracking) {
    std::string out = "\n[tracking]\nwatch = [";
    for (std::size_t i = 0; i < tracking.watching.size(); ++i)
        out += (i == 0 ? "" : ", ") + toml_quoted(tracking.watching[i]);
    out += "]\n";
    const auto period = [&](std::string_view key, Duration value) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(value).count();
        out += line(key, toml_quoted(format_interval(static_cast<std::uint64_t>(seconds))));
    };
    period("census-period", tracking.census_period);
    period("scrub-period", tracking.scrub_period);
    out += line("scrub-content-percent", std::to_string(tracking.scrub_content_percent));
    period("canary-period", tracking.canary_period);
    period("degraded-scan-period", tracking.degraded_scan_period);
    return out + line("most-watches", std::to_string(tracking.most_watches));
}

}  // namespace

std::string format_set_config(const BackupSet& set) {
    return "# The backup set \"" + set.id +
           "\". See backupd.toml(5); `backupctl config reload` takes changes over.\n" +
           set_body(set, true, false) + keep_section(set.keep) + guard_section(set.guard) +
           limits_section(set.limits) + drill_section(set.drill) +
           section("hooks", hooks_body(set.hooks));
}

std::string format_repository_config(const RepositoryPolicy& repository) {
    return "# The repository \"" + repository.name +
           "\". See backupd.toml(5); `backupctl config reload` takes changes over.\n" +
           repository_body(repository);
}

std::string format_policy(const Policy& policy) {
    std::string out = "[engine]\n";
    out += line("read-threads", std::to_string(policy.read_threads));
    out += line("compression-level", std::to_string(policy.compression_level));
    out += line("read-back-percent", std::to_string(policy.read_back_percent));
    out += line("pack-size", toml_quoted(format_size(policy.pack_bytes)));
    out += line("checkpoint", toml_quoted(format_size(policy.checkpoint_bytes)));
    out += line("tree-rules", toml_quoted(policy.tree_rules));
    out += tracking_body(policy.tracking);
    out += service_tables(policy);
    const auto heading = [&](std::string_view table, const std::string& name,
                             const std::string& origin) {
        out += "\n";
        if (!origin.empty()) out += "# from " + printable(origin) + "\n";
        // A name may have dots, which would nest.
        out += "[" + std::string(table) + "." + toml_quoted(name) + "]\n";
    };
    for (const auto& [name, repository] : policy.repositories) {
        heading("repository", name, repository.origin);
        out += repository_body(repository);
    }
    for (const auto& [id, set] : policy.sets) {
        heading("set", id, set.origin);
        for (const std::string& preset : set.presets)
            out += "# with the patterns of preset " + preset + "\n";
        out += set_body(set, false, true);
        // Said in full here: what the defaults of this machine are is not part of the text.
        if (set.exclude.cachedir_tag) out += line("cachedir-tag", flag(true));
        if (set.exclude.nodump) out += line("nodump", flag(true));
        if (set.enabled) out += line("enabled", flag(true));
        const BackupSet plain;
        if (set.automatic) out += line("automatic", flag(true));
        if (set.settle_ms == plain.settle_ms)
            out += line("settle", toml_quoted(format_short_interval(set.settle_ms)));
        if (set.min_interval_seconds == plain.min_interval_seconds)
            out += line("min-interval", toml_quoted(gap_text(set.min_interval_seconds)));
        if (const std::string keep = keep_body(set.keep); !keep.empty())
            out += "\n[set." + toml_quoted(id) + ".keep]\n" + keep;
        if (const std::string guard = guard_body(set.guard); !guard.empty())
            out += "\n[set." + toml_quoted(id) + ".guard]\n" + guard;
        out += limits_tables(set.limits, "set." + toml_quoted(id) + ".limits");
        out += section("set." + toml_quoted(id) + ".drill", drill_body(set.drill));
        out += section("set." + toml_quoted(id) + ".hooks", hooks_body(set.hooks));
    }
    return out;
}

}  // namespace backup
