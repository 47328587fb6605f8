#include "daemon/policy/config_sections.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "daemon/policy/config_table.h"
#include "daemon/policy/drill_rules.h"
#include "daemon/policy/guard_rules.h"
#include "daemon/policy/keep_rules.h"
#include "daemon/policy/limit_rules.h"
#include "daemon/policy/matcher.h"
#include "daemon/policy/timing.h"

namespace backup {

namespace {

namespace fs = std::filesystem;
using Taken = ConfigTable::Taken;

// The folder that a file belongs to as a whole: /etc/backupd for /etc/backupd/sets.d/home.toml.
// Within one such folder a name may be given once; between two of them the later one wins.
std::string layer_of(const std::string& origin) {
    fs::path folder = fs::path(origin).parent_path();
    if (folder.filename() == "sets.d" || folder.filename() == "repositories.d" ||
        folder.filename() == "presets.d")
        folder = folder.parent_path();
    return folder;
}

std::string origin_of(const std::string& file, unsigned line) {
    return file + ":" + std::to_string(std::max(line, 1u));
}

bool check_name(ConfigTable& table, unsigned line, const std::string& name, const char* what) {
    if (is_valid_name(name)) return true;
    table.problem(line, std::string(what) + " cannot be named \"" + printable(name) +
                            "\": letters, digits, \".\", \"_\" and \"-\", beginning with a letter "
                            "or digit, at most 64");
    return false;
}

template <typename Map>
bool is_twin(const Map& known, const std::string& name, const std::string& file, ConfigTable& table,
             unsigned line, const char* what) {
    const auto twin = known.find(name);
    if (twin == known.end() || layer_of(twin->second.origin) != layer_of(file)) return false;
    table.problem(line, std::string(what) + " \"" + name +
                            "\" is defined twice; the other place is " + twin->second.origin);
    return true;
}

// Syntax only: whether a kind of storage is there is the backend's to say. A URL may hold a
// password, so no message repeats more of it than its scheme.
std::string url_problem(const std::string& url) {
    if (url.empty()) return "\"url\" is empty";
    if (url.starts_with('/')) return {};
    const auto colon = url.find(':');
    if (colon == std::string::npos) {
        return "\"url\" must be an absolute path or begin with a scheme: /path, local:/path, "
               "file:///path";
    }
    const std::string scheme = url.substr(0, colon);
    const std::string rest = url.substr(colon + 1);
    if (scheme == "local")
        return rest.starts_with('/') ? "" : "\"url\": local: needs an absolute path behind it";
    if (scheme == "file") return rest.starts_with("//") ? "" : "\"url\": write file:///path";
    for (const char* known : {"sftp", "s3", "rest", "rclone"}) {
        if (scheme == known) return rest.empty() ? "\"url\": nothing follows " + scheme + ":" : "";
    }
    if (scheme == "http" || scheme == "https")
        return "\"url\": for a REST server write rest:" + scheme + "://...";
    return "\"url\": unknown kind of storage \"" + printable(scheme) +
           ":\"; known are /path, local:, file:, sftp:, s3:, rest:, rclone:";
}

void read_patterns(ConfigTable& table, const std::string& file, ExcludeRules& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list("exclude", elements) != Taken::ok) return;
    out.patterns.clear();
    out.origins.clear();
    for (auto& [pattern, line] : elements) {
        const auto compiled = Matcher::compile({pattern});
        if (compiled.ok()) {
            out.patterns.push_back(std::move(pattern));
            out.origins.push_back(origin_of(file, line));
        } else {
            table.problem(line, "\"exclude\": " + compiled.error().message());
        }
    }
}

// Names of presets; each is known and given once.
void read_presets(ConfigTable& table, const Presets& presets, std::vector<std::string>& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list("presets", elements) != Taken::ok) return;
    std::vector<std::string> names;
    for (const auto& [name, preset] : presets) names.push_back(name);
    for (const auto& [text, line] : elements) {
        if (!presets.contains(text)) {
            const std::string nearest = nearest_word(text, names);
            std::string known;
            for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
            table.problem(line, "\"presets\": there is no preset \"" + printable(text) + "\"; " +
                                    (nearest.empty() ? "known are " + known
                                                     : "did you mean \"" + nearest + "\"?"));
        } else if (std::find(out.begin(), out.end(), text) != out.end()) {
            table.problem(line, "\"presets\": \"" + text + "\" is listed twice");
        } else {
            out.push_back(text);
        }
    }
}

void read_paths(ConfigTable& table, const std::string& set, unsigned line, std::vector<Path>& out) {
    std::vector<ConfigTable::Element> elements;
    const Taken taken = table.list("paths", elements);
    if (taken == Taken::absent)
        table.problem(line, "set \"" + printable(set) + "\" has no \"paths\"");
    if (taken == Taken::ok && elements.empty()) {
        table.problem(table.line_of("paths"), "\"paths\" needs at least one absolute path");
    }
    for (const auto& [text, at] : elements) {
        auto path = Path::parse(text);
        if (!path.ok()) {
            table.problem(at, "\"paths\": " + path.error().message());
        } else if (std::find(out.begin(), out.end(), *path) != out.end()) {
            table.problem(at, "\"paths\": " + printable(path->text()) + " is listed twice");
        } else {
            out.push_back(std::move(*path));
        }
    }
}

// Longer than this a revision would wait for ever on a busy machine.
constexpr std::uint64_t kMostSettleMs = 3'600'000;

void read_settle(ConfigTable& table, std::uint64_t& out) {
    std::uint64_t settle = out;
    if (table.short_interval("settle", settle) != Taken::ok) return;
    if (settle > kMostSettleMs) {
        table.problem(table.line_of("settle"), "\"settle\" must be at most 1h");
    } else {
        out = settle;
    }
}

void read_keep(ConfigTable& set, const std::string& file, LoadedPolicy& into, KeepRules& out) {
    const TomlValue* root = set.table("keep");
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[keep]", into.problems);
    for (const auto& [key, member] : kKeepCounts) {
        std::int64_t count = out.*member;
        table.whole_number(key, 0, kMostKept, count);
        out.*member = static_cast<std::uint32_t>(count);
    }
    table.interval("within", out.within_seconds);
    std::vector<ConfigTable::Element> tags;
    if (table.list("tags", tags) == Taken::ok) {
        out.tags.clear();
        for (auto& [tag, at] : tags) {
            if (tag.empty() || tag.find_first_of(" ,") != std::string::npos)
                table.problem(at, "\"tags\": a tag has no spaces and no commas");
            else
                out.tags.push_back(std::move(tag));
        }
    }
    table.finish();
}

void read_adopt(ConfigTable& table, std::vector<std::string>& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list("adopt", elements) != Taken::ok) return;
    for (auto& [text, line] : elements) {
        const std::size_t slash = text.rfind('/');
        if (slash == std::string::npos || slash == 0 || slash + 1 == text.size())
            table.problem(line, "\"adopt\": write HOST/SET, not \"" + printable(text) + "\"");
        else
            out.push_back(std::move(text));
    }
}

void read_guard(ConfigTable& set, const std::string& file, LoadedPolicy& into, GuardRules& out) {
    const TomlValue* root = set.table("guard");
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[guard]", into.problems);
    for (const GuardRuleName& rule : kGuardRules) {
        std::int64_t value = out.*rule.member;
        table.whole_number(rule.name, 0, rule.most, value);
        out.*rule.member = static_cast<std::uint32_t>(value);
    }
    table.finish();
}

void read_watching(ConfigTable& table, std::vector<std::string>& out) {
    static const std::vector<std::string> kKnown = {"fanotify", "inotify", "scan"};
    std::vector<ConfigTable::Element> elements;
    if (table.list("watch", elements) != Taken::ok) return;
    if (elements.empty()) {
        table.problem(table.line_of("watch"),
                      "\"watch\" needs at least one of \"fanotify\", \"inotify\", \"scan\"");
        return;
    }
    std::vector<std::string> watching;
    for (const auto& [text, line] : elements) {
        if (std::find(kKnown.begin(), kKnown.end(), text) == kKnown.end()) {
            const std::string nearest = nearest_word(text, kKnown);
            table.problem(line, "\"watch\": there is no way of watching named \"" +
                                    printable(text) + "\"; " +
                                    (nearest.empty() ? "known are fanotify, inotify, scan"
                                                     : "did you mean \"" + nearest + "\"?"));
        } else if (std::find(watching.begin(), watching.end(), text) != watching.end()) {
            table.problem(line, "\"watch\": \"" + text + "\" is listed twice");
        } else {
            watching.push_back(text);
        }
    }
    if (watching.size() == elements.size()) out = std::move(watching);
}

}  // namespace

void read_repository(const TomlValue& root, const std::string& file, const std::string& name,
                     const std::string& where, LoadedPolicy& into) {
    ConfigTable table(root, file, where, into.problems);
    const unsigned line = where.empty() ? 0 : root.line;
    RepositoryPolicy repository;
    repository.name = name;
    repository.origin = origin_of(file, root.line);
    const Taken url = table.text("url", repository.url);
    if (url == Taken::absent) {
        table.problem(line, "repository \"" + printable(name) + "\" has no \"url\"");
    } else if (url == Taken::ok) {
        const std::string problem = url_problem(repository.url);
        if (!problem.empty()) table.problem(table.line_of("url"), problem);
    }
    table.text("password-file", repository.password_file);
    if (!repository.password_file.empty() && !repository.password_file.starts_with('/')) {
        table.problem(table.line_of("password-file"), "\"password-file\" must be an absolute path");
    }
    table.interval("trash", repository.trash_seconds);
    if (table.interval("grace", repository.grace_seconds) == Taken::ok &&
        repository.grace_seconds < kLeastGraceSeconds)
        table.problem(table.line_of("grace"), "\"grace\" must be at least 24h");
    table.interval("collect", repository.collect_seconds);
    table.size("collect-rate", repository.collect_rate);
    std::int64_t waste = repository.waste_percent;
    table.whole_number("waste", 1, 100, waste);
    repository.waste_percent = static_cast<unsigned>(waste);
    table.flag("append-only", repository.append_only);
    read_windows(table, repository.windows);
    table.interval("verify", repository.verify_seconds);
    std::int64_t share = repository.verify_percent;
    table.whole_number("verify-data", 0, 100, share);
    repository.verify_percent = static_cast<unsigned>(share);
    table.finish();
    if (!check_name(table, line, name, "a repository")) return;
    if (is_twin(into.policy.repositories, name, file, table, line, "repository")) return;
    into.policy.repositories[name] = std::move(repository);
}

void read_set(const TomlValue& root, const std::string& file, const std::string& name,
              const std::string& where, LoadedPolicy& into) {
    ConfigTable table(root, file, where, into.problems);
    const unsigned line = where.empty() ? 0 : root.line;
    BackupSet set;
    set.id = name;
    set.origin = origin_of(file, root.line);
    table.text("title", set.title);
    read_paths(table, name, line, set.paths);
    const Taken repository = table.text("repository", set.repository);
    if (repository == Taken::absent) {
        table.problem(line, "set \"" + printable(name) + "\" has no \"repository\"");
    } else if (repository == Taken::ok && set.repository.empty()) {
        table.problem(table.line_of("repository"), "\"repository\" is empty");
    }
    ExcludeRules own;
    read_patterns(table, file, own);
    set.exclude = into.defaults;
    const auto append = [](std::vector<std::string>& to, const std::vector<std::string>& from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    read_presets(table, into.policy.presets, set.presets);
    for (const std::string& preset : set.presets) {
        const Preset& found = into.policy.presets.at(preset);
        append(set.exclude.patterns, found.exclude);
        set.exclude.origins.resize(set.exclude.patterns.size(), found.origin);
    }
    set.exclude.inherited = set.exclude.patterns.size();
    append(set.exclude.patterns, own.patterns);
    append(set.exclude.origins, own.origins);
    table.flag("cachedir-tag", set.exclude.cachedir_tag);
    table.flag("nodump", set.exclude.nodump);
    table.flag("one-file-system", set.exclude.other_filesystems);
    table.size("larger-than", set.exclude.larger_than);
    table.flag("enabled", set.enabled);
    table.text("hostname", set.hostname);
    read_adopt(table, set.adopt);
    table.interval("interval", set.interval_seconds);
    table.flag("automatic", set.automatic);
    read_settle(table, set.settle_ms);
    table.interval("min-interval", set.min_interval_seconds);
    table.interval("reconcile", set.reconcile_seconds);
    read_timing(table, file, into, set);
    read_keep(table, file, into, set.keep);
    read_guard(table, file, into, set.guard);
    read_limits(table, file, into, set.limits);
    read_drill(table, file, into, set.drill);
    table.finish();
    if (!check_name(table, line, name, "a set")) return;
    if (is_twin(into.policy.sets, name, file, table, line, "set")) return;
    into.repository_lines[name] = {file, table.line_of("repository")};
    into.policy.sets[name] = std::move(set);
}

void read_preset(const TomlValue& root, const std::string& file, const std::string& name,
                 LoadedPolicy& into) {
    ConfigTable table(root, file, "", into.problems);
    Preset preset;
    preset.origin = origin_of(file, root.line);
    table.text("title", preset.title);
    ExcludeRules rules;
    read_patterns(table, file, rules);
    if (table.line_of("exclude") == 0)
        table.problem(0, "preset \"" + printable(name) + "\" has no \"exclude\"");
    preset.exclude = std::move(rules.patterns);
    table.finish();
    if (check_name(table, 0, name, "a preset")) into.policy.presets[name] = std::move(preset);
}

void read_engine(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[engine]", into.problems);
    std::int64_t threads = into.policy.read_threads;
    std::int64_t level = into.policy.compression_level;
    table.whole_number("read-threads", 0, 256, threads);
    table.whole_number("compression-level", 1, 19, level);
    into.policy.read_threads = static_cast<unsigned>(threads);
    into.policy.compression_level = static_cast<int>(level);
    std::int64_t read_back = into.policy.read_back_percent;
    table.whole_number("read-back-percent", 0, 100, read_back);
    into.policy.read_back_percent = static_cast<unsigned>(read_back);
    std::uint64_t pack = into.policy.pack_bytes;
    if (table.size("pack-size", pack) == Taken::ok) {
        if (pack < (std::uint64_t{4} << 20) || pack > (std::uint64_t{128} << 20)) {
            table.problem(table.line_of("pack-size"), "\"pack-size\" must be from 4MiB to 128MiB");
        } else {
            into.policy.pack_bytes = pack;
        }
    }
    std::uint64_t checkpoint = into.policy.checkpoint_bytes;
    if (table.size("checkpoint", checkpoint) == Taken::ok) {
        if (checkpoint < (std::uint64_t{1} << 20))
            table.problem(table.line_of("checkpoint"), "\"checkpoint\" must be 1MiB or more");
        else
            into.policy.checkpoint_bytes = checkpoint;
    }
    std::string rules = into.policy.tree_rules;
    table.text("tree-rules", rules);
    if (rules != "auto" && rules != "go119" && rules != "go122") {
        table.problem(table.line_of("tree-rules"),
                      R"("tree-rules" must be "auto", "go119" or "go122")");
    } else {
        into.policy.tree_rules = rules;
    }
    table.finish();
}

void read_tracking(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[tracking]", into.problems);
    TrackingPolicy& tracking = into.policy.tracking;
    read_watching(table, tracking.watching);
    const auto period = [&](std::string_view key, Duration& out) {
        std::uint64_t seconds = 0;
        if (table.interval(key, seconds) == Taken::ok) {
            out = std::chrono::seconds(static_cast<std::int64_t>(seconds));
        }
    };
    period("census-period", tracking.census_period);
    period("scrub-period", tracking.scrub_period);
    period("canary-period", tracking.canary_period);
    period("degraded-scan-period", tracking.degraded_scan_period);
    auto watches = static_cast<std::int64_t>(tracking.most_watches);
    table.whole_number("most-watches", 0, 0x7fffffff, watches);
    std::int64_t share = tracking.scrub_content_percent;
    table.whole_number("scrub-content-percent", 0, 100, share);
    tracking.scrub_content_percent = static_cast<unsigned>(share);
    tracking.most_watches = static_cast<std::uint64_t>(watches);
    table.finish();
}

void read_defaults(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[defaults]", into.problems);
    read_patterns(table, file, into.defaults);
    table.flag("cachedir-tag", into.defaults.cachedir_tag);
    table.flag("nodump", into.defaults.nodump);
    table.finish();
}

}  // namespace backup
