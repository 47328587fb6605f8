#include "ctl/schedule_words.h"

#include <algorithm>
#include <charconv>

#include "common/path.h"
#include "ctl/sizes.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

// "2MiB/s", "none".
Result<std::uint64_t> parse_rate(std::string text) {
    if (text == "none" || text == "off") return std::uint64_t{0};
    if (text.ends_with("/s")) text.resize(text.size() - 2);
    return parse_size(text);
}

// "none" alone is the empty list.
std::vector<std::string> listed(const Arguments& args, const char* option) {
    std::vector<std::string> values = args.values(option);
    if (values.size() == 1 && values[0] == "none") values.clear();
    return values;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

}  // namespace

std::vector<Dict> unmet(const std::vector<Dict>& conditions) {
    std::vector<Dict> list;
    for (const Dict& condition : conditions)
        if (!condition.flag("met") && condition.number("since") != 0) list.push_back(condition);
    return list;
}

std::vector<JsonObject> condition_objects(const Context& context,
                                          const std::vector<Dict>& conditions) {
    std::vector<JsonObject> list;
    for (const Dict& condition : conditions) {
        JsonObject object;
        object.add("condition", condition.text("condition"))
            .add("met", condition.flag("met"))
            .add("text", condition.text("text"));
        context.add_time(object, "since", condition.number("since"));
        context.add_time(object, "until", condition.number("until"));
        list.push_back(std::move(object));
    }
    return list;
}

std::string condition_sentence(const Dict& condition, const Context& context) {
    std::string text = printable(condition.text("text"));
    // The daemon's times are for machines; here they are said as people say them.
    if (const auto since = text.rfind(" (since "); since != std::string::npos) text.resize(since);
    if (condition.number("until") != 0) {
        const auto until = text.rfind(" until ");
        if (until != std::string::npos)
            text = text.substr(0, until) + " until " +
                   short_time_text(condition.number("until"), context.now(), context.looks());
    }
    if (condition.number("since") == 0) return text;
    return text + " (since " +
           short_time_text(condition.number("since"), context.now(), context.looks()) + ")";
}

std::vector<OptionSpec> timing_options() {
    return {{.name = "--window",
             .value = "WINDOW",
             .help = "upload only then (\"Mon..Fri 22:00-06:00\", \"Sat,Sun at 2MiB/s\"); none: at "
                     "any time",
             .repeat = true},
            {.name = "--jitter",
             .value = "TIME",
             .help = "spread the begins of machines over so much of a window (1h); window: most of "
                     "it; off"},
            {.name = "--max-deferral",
             .value = "TIME",
             .help = "tell when a run is put off for longer (1d, the default); none: never"},
            {.name = "--avoid",
             .value = "COND",
             .help = "wait while the machine is on battery, its network is metered or offline, "
                     "under pressure or saving power; none",
             .repeat = true,
             .choices = {"battery", "metered", "offline", "pressure", "power-saver", "none",
                         "default"}},
            {.name = "--upload-rate",
             .value = "RATE",
             .help = "not faster than this (2MiB/s); none: no limit"},
            {.name = "--download-rate", .value = "RATE", .help = "the same for its restores"},
            {.name = "--priority",
             .value = "N",
             .help = "of sets that are due, the highest comes first (0 to 100, default 50)"}};
}

Result<> timing_settings(const Arguments& args, Dict& config) {
    if (args.flag("--window")) config.set("windows", Value(listed(args, "--window")));
    if (auto jitter = args.value("--jitter")) config.set("jitter", Value(*jitter));
    if (auto longest = args.value("--max-deferral")) {
        const std::uint64_t seconds = *longest == "none" || *longest == "off"
                                          ? 0
                                          : TRY_DURING(parse_duration(*longest), "--max-deferral");
        config.set("max-deferral-usec", Value(seconds * 1'000'000));
    }
    if (args.flag("--avoid")) config.set("avoid", Value(args.values("--avoid")));
    if (auto rate = args.value("--upload-rate"))
        config.set("upload-rate", Value(TRY_DURING(parse_rate(*rate), "--upload-rate")));
    if (auto rate = args.value("--download-rate"))
        config.set("download-rate", Value(TRY_DURING(parse_rate(*rate), "--download-rate")));
    if (auto text = args.value("--priority")) {
        std::uint32_t priority = 0;
        auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), priority);
        if (problem != std::errc{} || end != text->data() + text->size() || priority > 100)
            return usage("--priority: a number from 0 to 100");
        config.set("priority", Value(priority));
    }
    return {};
}

void add_timing(JsonObject& object, const Dict& config) {
    object.add("windows", config.texts("windows"))
        .add("jitter", config.text("jitter"))
        .add("max_deferral", config.number("max-deferral-usec") / 1'000'000)
        .add("avoid", config.texts("avoid"))
        .add("upload_rate", config.number("upload-rate"))
        .add("download_rate", config.number("download-rate"))
        .add("priority", config.number("priority"));
}

std::vector<std::pair<std::string, std::string>> timing_rows(const Dict& config,
                                                             const Looks& looks) {
    std::vector<std::pair<std::string, std::string>> rows;
    bool first = true;
    for (const auto& window : config.texts("windows")) {
        rows.emplace_back(first ? "uploads only" : "", window);
        first = false;
    }
    if (!first && config.text("jitter") != "window")
        rows.emplace_back("jitter", config.text("jitter"));
    if (const auto avoid = config.texts("avoid"); !avoid.empty() && avoid[0] != "default")
        rows.emplace_back("waits out", avoid[0] == "none" ? "nothing" : joined(avoid));
    if (config.has("max-deferral-usec") && config.number("max-deferral-usec") != 86'400'000'000) {
        const auto usec = config.number("max-deferral-usec");
        rows.emplace_back(
            "put off", usec == 0 ? "for as long as it takes"
                                 : "for at most " + duration_text(static_cast<double>(usec) / 1e6));
    }
    for (const auto& [key, name] :
         {std::pair{"upload-rate", "uploads at most"}, std::pair{"download-rate", "downloads"}})
        if (config.number(key) != 0)
            rows.emplace_back(name, size_text(config.number(key), looks) + " a second");
    if (config.has("priority") && config.number("priority") != 50)
        rows.emplace_back("priority", std::to_string(config.number("priority")));
    return rows;
}

}  // namespace backup
