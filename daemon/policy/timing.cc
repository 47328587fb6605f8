#include "daemon/policy/timing.h"

#include <algorithm>

#include "common/path.h"
#include "daemon/policy/toml_document.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

using Taken = ConfigTable::Taken;

const std::vector<std::string> kAvoidable = {"battery", "metered", "offline", "pressure",
                                             "power-saver"};
constexpr std::int64_t kMostPriority = 100;
constexpr std::size_t kMostWindows = 100;

Error invalid(std::string message) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, std::move(message));
}

std::string line(std::string_view key, std::string_view value) {
    return std::string(key) + " = " + std::string(value) + "\n";
}

std::string texts(const std::vector<std::string>& values) {
    std::string out = "[";
    for (const std::string& value : values)
        out += (out.size() == 1 ? "" : ", ") + toml_quoted(value);
    return out + "]";
}

std::string interval(std::uint64_t seconds) {
    return toml_quoted(seconds == 0 ? "off" : format_interval(seconds));
}

std::string rate(std::uint64_t bytes) {
    return toml_quoted(bytes == 0 ? "off" : format_size(bytes) + "/s");
}

Result<std::string> check_avoidable(const std::string& word) {
    if (std::find(kAvoidable.begin(), kAvoidable.end(), word) != kAvoidable.end()) return word;
    const std::string nearest = nearest_word(word, kAvoidable);
    return invalid("there is no condition \"" + printable(word) + "\" to avoid; " +
                   (nearest.empty() ? "known are battery, metered, offline, pressure, power-saver"
                                    : "did you mean \"" + nearest + "\"?"));
}

void read_avoid(ConfigTable& table, std::optional<std::vector<std::string>>& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list("avoid", elements) != Taken::ok) return;
    std::vector<std::string> words;
    for (const auto& [text, at] : elements) {
        auto word = check_avoidable(text);
        if (!word.ok())
            table.problem(at, "\"avoid\": " + word.error().message());
        else if (std::find(words.begin(), words.end(), text) == words.end())
            words.push_back(text);
    }
    out = std::move(words);
}

// A program with its arguments. Never a shell's line: what it would make of a name is nobody's
// wish.
void read_command(ConfigTable& table, std::string_view key, std::vector<std::string>& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list(key, elements) != Taken::ok) return;
    std::vector<std::string> command;
    for (auto& element : elements) command.push_back(std::move(element.text));
    if (!command.empty() && !command.front().starts_with('/')) {
        table.problem(table.line_of(key), "\"" + std::string(key) +
                                              "\": the program must be an absolute path, its "
                                              "arguments follow it in the list");
        return;
    }
    out = std::move(command);
}

void read_hooks(ConfigTable& set, const std::string& file, LoadedPolicy& into, Hooks& out) {
    const TomlValue* root = set.table("hooks");
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[hooks]", into.problems);
    read_command(table, "before", out.before);
    read_command(table, "after", out.after);
    if (table.interval("timeout", out.timeout_seconds) == Taken::ok && out.timeout_seconds == 0)
        table.problem(table.line_of("timeout"), "\"timeout\" must be at least a second");
    table.flag("must-succeed", out.must_succeed);
    table.finish();
}

}  // namespace

void read_windows(ConfigTable& table, std::vector<Window>& out) {
    std::vector<ConfigTable::Element> elements;
    if (table.list("windows", elements) != Taken::ok) return;
    out.clear();
    if (elements.size() > kMostWindows)
        table.problem(table.line_of("windows"), "\"windows\": at most 100");
    for (const auto& [text, at] : elements) {
        auto window = parse_window(text);
        if (window.ok())
            out.push_back(std::move(*window));
        else
            table.problem(at, "\"windows\": " + window.error().message());
    }
}

void read_timing(ConfigTable& table, const std::string& file, LoadedPolicy& into, BackupSet& set) {
    read_windows(table, set.windows);
    std::uint64_t jitter = 0;
    if (table.interval("jitter", jitter) == Taken::ok) set.jitter_seconds = jitter;
    table.interval("max-deferral", set.max_deferral_seconds);
    read_avoid(table, set.avoid);
    table.rate("upload-rate", set.upload_rate);
    table.rate("download-rate", set.download_rate);
    std::int64_t priority = set.priority;
    table.whole_number("priority", 0, kMostPriority, priority);
    set.priority = static_cast<unsigned>(priority);
    read_hooks(table, file, into, set.hooks);
}

void read_rates(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[rates]", into.problems);
    table.rate("upload", into.policy.upload_rate);
    table.rate("download", into.policy.download_rate);
    table.finish();
}

void read_health(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[health]", into.problems);
    read_command(table, "command", into.policy.health_command);
    table.finish();
}

void read_metrics(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[metrics]", into.problems);
    std::string path = into.policy.metrics_file;
    if (table.text("textfile", path) == Taken::ok) {
        if (!path.empty() && (!path.starts_with('/') || !path.ends_with(".prom")))
            table.problem(table.line_of("textfile"),
                          "\"textfile\" must be an absolute path that ends in .prom");
        else
            into.policy.metrics_file = path;
    }
    table.finish();
}

void read_conditions(const TomlValue& root, const std::string& file, LoadedPolicy& into) {
    ConfigTable table(root, file, "[conditions]", into.problems);
    std::int64_t percent = into.policy.pressure_percent;
    table.whole_number("pressure", 1, 100, percent);
    into.policy.pressure_percent = static_cast<unsigned>(percent);
    table.finish();
}

std::string windows_line(const std::vector<Window>& windows) {
    return windows.empty() ? std::string() : line("windows", texts(format_windows(windows)));
}

std::string timing_body(const BackupSet& set, bool hints) {
    const BackupSet plain;
    std::string out = windows_line(set.windows);
    if (out.empty() && hints)
        out =
            "# windows = [\"Mon..Fri 22:00-06:00\", \"Sat,Sun at 2MiB/s\"]    # when it may "
            "upload\n";
    if (set.jitter_seconds) out += line("jitter", interval(*set.jitter_seconds));
    if (set.max_deferral_seconds != plain.max_deferral_seconds)
        out += line("max-deferral", interval(set.max_deferral_seconds));
    if (set.avoid)
        out += line("avoid", texts(*set.avoid));
    else if (hints)
        out += "# avoid = [\"battery\", \"metered\"]    # what its runs wait out\n";
    if (set.upload_rate != 0) out += line("upload-rate", rate(set.upload_rate));
    if (set.download_rate != 0) out += line("download-rate", rate(set.download_rate));
    if (set.priority != plain.priority) out += line("priority", std::to_string(set.priority));
    return out;
}

std::string hooks_body(const Hooks& hooks) {
    const Hooks plain;
    std::string out;
    if (!hooks.before.empty()) out += line("before", texts(hooks.before));
    if (!hooks.after.empty()) out += line("after", texts(hooks.after));
    if (hooks.timeout_seconds != plain.timeout_seconds)
        out += line("timeout", interval(hooks.timeout_seconds));
    if (!hooks.must_succeed) out += line("must-succeed", "false");
    return out;
}

std::string service_tables(const Policy& policy) {
    std::string out;
    out += "\n[rates]\n" + line("upload", rate(policy.upload_rate)) +
           line("download", rate(policy.download_rate));
    out += "\n[conditions]\n" + line("pressure", std::to_string(policy.pressure_percent));
    if (!policy.health_command.empty())
        out += "\n[health]\n" + line("command", texts(policy.health_command));
    if (!policy.metrics_file.empty())
        out += "\n[metrics]\n" + line("textfile", toml_quoted(policy.metrics_file));
    return out;
}

Result<std::vector<Window>> parse_windows(const std::vector<std::string>& list) {
    if (list.size() > kMostWindows) return invalid("at most 100 windows");
    std::vector<Window> windows;
    for (const std::string& text : list) windows.push_back(TRY(parse_window(text)));
    return windows;
}

std::vector<std::string> format_windows(const std::vector<Window>& windows) {
    std::vector<std::string> list;
    for (const Window& window : windows) list.push_back(format_window(window));
    return list;
}

Result<std::optional<std::uint64_t>> parse_jitter(const std::string& text) {
    if (text.empty() || text == "window") return std::optional<std::uint64_t>();
    return std::optional<std::uint64_t>(TRY(parse_interval(text)));
}

std::string format_jitter(const std::optional<std::uint64_t>& jitter) {
    if (!jitter) return "window";
    return *jitter == 0 ? "off" : format_interval(*jitter);
}

Result<std::optional<std::vector<std::string>>> parse_avoid(const std::vector<std::string>& words) {
    std::optional<std::vector<std::string>> avoid;
    if (words.size() == 1 && words[0] == "default") return avoid;
    avoid.emplace();
    if (words.size() == 1 && words[0] == "none") return avoid;
    for (const std::string& word : words) {
        TRY(check_avoidable(word));
        if (std::find(avoid->begin(), avoid->end(), word) == avoid->end()) avoid->push_back(word);
    }
    return avoid;
}

std::vector<std::string> format_avoid(const std::optional<std::vector<std::string>>& avoid) {
    if (!avoid) return {"default"};
    return avoid->empty() ? std::vector<std::string>{"none"} : *avoid;
}

}  // namespace backup
