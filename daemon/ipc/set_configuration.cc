// A set's configuration on the bus: CreateSet, GetConfiguration and Configure.
#include <algorithm>

#include "daemon/ipc/set_object.h"
#include "daemon/policy/drill_rules.h"
#include "daemon/policy/guard_rules.h"
#include "daemon/policy/keep_rules.h"
#include "daemon/policy/limit_rules.h"
#include "daemon/policy/timing.h"

namespace backup {

wire::Dict set_configuration(const BackupSet& set) {
    std::vector<wire::FileName> paths;
    for (const Path& path : set.paths) paths.push_back({path.text()});
    return {
        {"paths", std::move(paths)},
        {"repository", set.repository},
        {"exclude", set.exclude.patterns},
        {"title", set.title},
        {"cachedir-tag", set.exclude.cachedir_tag},
        {"nodump", set.exclude.nodump},
        {"one-file-system", set.exclude.other_filesystems},
        {"larger-than", set.exclude.larger_than},
        {"interval-usec", set.interval_seconds * 1'000'000},
        {"automatic", set.automatic},
        {"settle-usec", set.settle_ms * 1'000},
        {"min-interval-usec", set.min_interval_seconds * 1'000'000},
        {"reconcile-usec", set.reconcile_seconds * 1'000'000},
        {"enabled", set.enabled},
        {"keep", format_keep_rules(set.keep)},
        {"guard", format_guard_rules(set.guard)},
        {"limits", format_limits(set.limits)},
        {"presets", set.presets},
        {"inherited", std::uint64_t{std::min(set.exclude.inherited, set.exclude.patterns.size())}},
        {"drill", format_drill_rules(set.drill)},
        {"windows", format_windows(set.windows)},
        {"jitter", format_jitter(set.jitter_seconds)},
        {"max-deferral-usec", set.max_deferral_seconds * 1'000'000},
        {"avoid", format_avoid(set.avoid)},
        {"upload-rate", set.upload_rate},
        {"download-rate", set.download_rate},
        {"priority", std::uint32_t{set.priority}},
        {"adopt", set.adopt},
        {"hostname", set.hostname},
        {"hooks-before", set.hooks.before},
        {"hooks-after", set.hooks.after},
        {"hooks-timeout-usec", set.hooks.timeout_seconds * 1'000'000},
        {"hooks-must-succeed", set.hooks.must_succeed},
    };
}

namespace {

Result<> change_timing(BackupSet& set, wire::DictReader& changes) {
    if (auto value = changes.texts("windows"))
        set.windows = TRY_DURING(parse_windows(*value), "windows");
    if (auto value = changes.text("jitter"))
        set.jitter_seconds = TRY_DURING(parse_jitter(*value), "jitter");
    if (auto value = changes.number("max-deferral-usec"))
        set.max_deferral_seconds = *value / 1'000'000 + (*value % 1'000'000 != 0 ? 1 : 0);
    if (auto value = changes.texts("avoid")) set.avoid = TRY_DURING(parse_avoid(*value), "avoid");
    if (auto value = changes.number("upload-rate")) set.upload_rate = *value;
    if (auto value = changes.number("download-rate")) set.download_rate = *value;
    if (auto value = changes.number("priority")) {
        if (*value > 100) return invalid_argument("priority: 0 to 100");
        set.priority = static_cast<unsigned>(*value);
    }
    return {};
}

// What GetConfiguration tells besides. Commands stand in files of the administrator alone.
void pass_over_told(wire::DictReader& changes) {
    (void)changes.number("inherited");
    (void)changes.texts("hooks-before");
    (void)changes.texts("hooks-after");
    (void)changes.number("hooks-timeout-usec");
    (void)changes.boolean("hooks-must-succeed");
}

// The patterns that come from [defaults] and presets stand first, and in other files.
Result<> keeps_inherited(const BackupSet& set, const std::vector<std::string>& patterns) {
    const auto& known = set.exclude.patterns;
    for (std::size_t i = 0; i < std::min(set.exclude.inherited, known.size()); ++i) {
        if (i < patterns.size() && patterns[i] == known[i]) continue;
        const std::string origin = i < set.exclude.origins.size() ? set.exclude.origins[i] : "";
        return invalid_argument("exclude: the pattern '" + printable(known[i]) +
                                "' is not the set's own" +
                                (origin.empty() ? "" : ", it comes from " + printable(origin)) +
                                ": exclude '!" + printable(known[i]) + "' takes it back in");
    }
    return {};
}

}  // namespace

Result<> change_set(BackupSet& set, wire::DictReader& changes) {
    if (auto paths = changes.file_names("paths")) {
        set.paths.clear();
        for (const std::string& text : *paths) {
            auto path = Path::parse(text);
            if (!path.ok())
                return invalid_argument("path " + printable(text) + ": " + path.error().message());
            set.paths.push_back(std::move(*path));
        }
    }
    if (auto value = changes.text("repository")) set.repository = *value;
    if (auto value = changes.texts("exclude")) {
        TRY(keeps_inherited(set, *value));
        set.exclude.patterns = *value;
        set.exclude.origins.clear();
    }
    if (auto value = changes.texts("presets")) set.presets = *value;
    pass_over_told(changes);
    if (auto value = changes.text("limits"))
        set.limits = TRY_DURING(parse_limits(*value), "limits");
    if (auto value = changes.text("title")) set.title = *value;
    if (auto value = changes.boolean("cachedir-tag")) set.exclude.cachedir_tag = *value;
    if (auto value = changes.boolean("nodump")) set.exclude.nodump = *value;
    if (auto value = changes.boolean("one-file-system")) set.exclude.other_filesystems = *value;
    if (auto value = changes.number("larger-than")) set.exclude.larger_than = *value;
    const auto rounded_up = [](std::uint64_t usec, std::uint64_t unit) {
        return usec / unit + (usec % unit != 0 ? 1 : 0);
    };
    if (auto value = changes.number("interval-usec"))
        set.interval_seconds = rounded_up(*value, 1'000'000);
    if (auto value = changes.boolean("automatic")) set.automatic = *value;
    if (auto value = changes.number("settle-usec")) set.settle_ms = rounded_up(*value, 1'000);
    if (auto value = changes.number("reconcile-usec"))
        set.reconcile_seconds = rounded_up(*value, 1'000'000);
    if (auto value = changes.number("min-interval-usec"))
        set.min_interval_seconds = rounded_up(*value, 1'000'000);
    if (auto value = changes.boolean("enabled")) set.enabled = *value;
    if (auto value = changes.text("keep")) set.keep = TRY_DURING(parse_keep_rules(*value), "keep");
    if (auto value = changes.text("hostname")) set.hostname = *value;
    if (auto value = changes.texts("adopt")) {
        for (const std::string& line : *value) {
            const std::size_t slash = line.rfind('/');
            if (slash == std::string::npos || slash == 0 || slash + 1 == line.size())
                return invalid_argument("adopt: HOST/SET, not '" + printable(line) + "'");
        }
        set.adopt = *value;
    }
    if (auto value = changes.text("guard"))
        set.guard = TRY_DURING(parse_guard_rules(*value), "guard");
    if (auto value = changes.text("drill"))
        set.drill = TRY_DURING(parse_drill_rules(*value), "drill");
    TRY(change_timing(set, changes));
    return {};
}

}  // namespace backup
