#include "ctl/set_words.h"

#include <algorithm>
#include <charconv>

#include "common/path.h"
#include "ctl/limit_words.h"
#include "ctl/schedule_words.h"
#include "ctl/sizes.h"
#include "ctl/time_words.h"

namespace backup {

namespace {

Error usage(const std::string& message) {
    return {ErrorKind::invalid, ErrorCode::invalid_arguments, message};
}

// "500ms", or a duration.
Result<std::uint64_t> settle_usec(const std::string& text) {
    constexpr std::string_view kUnit = "ms";
    if (text.ends_with(kUnit)) {
        std::uint64_t milliseconds = 0;
        const char* end = text.data() + text.size() - kUnit.size();
        auto [stopped, error] = std::from_chars(text.data(), end, milliseconds);
        if (error == std::errc{} && stopped == end && milliseconds <= 3'600'000)
            return milliseconds * 1000;
        return usage("'" + printable(text) + "' is not a time\ntry: 0, 500ms, 2s, 1min");
    }
    return TRY(parse_duration(text)) * 1'000'000;
}

}  // namespace

JsonObject config_object(const Dict& c) {
    JsonObject object;
    std::vector<std::string> texts;
    std::vector<JsonObject> objects;
    bool text = true;
    for (const auto& path : c.file_names("paths")) {
        texts.push_back(path);
        objects.push_back(JsonObject().add_bytes("path", path));
        text = text && is_utf8(path);
    }
    if (text)
        object.add("paths", texts);
    else
        object.add("paths", objects);
    add_timing(object, c);
    add_limits(object, c);
    return object.add("repository", c.text("repository"))
        .add("title", c.text("title"))
        .add("exclude", c.texts("exclude"))
        .add("keep", c.text("keep"))
        .add("guard", c.text("guard"))
        .add("drill", c.text("drill"))
        .add("adopt", c.texts("adopt"))
        .add("hostname", c.text("hostname"))
        .add("hooks", JsonObject()
                          .add("before", c.texts("hooks-before"))
                          .add("after", c.texts("hooks-after"))
                          .add("timeout", c.number("hooks-timeout-usec") / 1'000'000)
                          .add("must_succeed", c.flag("hooks-must-succeed")))
        .add("cachedir_tag", c.flag("cachedir-tag"))
        .add("nodump", c.flag("nodump"))
        .add("one_file_system", c.flag("one-file-system"))
        .add("larger_than", c.number("larger-than"))
        .add("interval", c.number("interval-usec") / 1'000'000)
        .add("automatic", c.flag("automatic"))
        .add("settle", static_cast<double>(c.number("settle-usec")) / 1e6)
        .add("min_interval", c.number("min-interval-usec") / 1'000'000)
        .add("reconcile", c.number("reconcile-usec") / 1'000'000)
        .add("enabled", c.flag("enabled"));
}

void print_config(Context& context, const std::string& id, const Dict& c) {
    const Looks& looks = context.looks();
    auto row = [&](const char* name, const std::string& value) {
        if (!value.empty())
            context.line(std::string(name) + std::string(16 - std::string_view(name).size(), ' ') +
                         value);
    };
    row("set", id);
    row("title", printable(c.text("title")));
    row("repository", c.text("repository"));
    for (const auto& path : c.file_names("paths")) row("path", printable(path));
    const auto patterns = c.texts("exclude");
    const std::size_t inherited = std::min<std::size_t>(c.number("inherited"), patterns.size());
    for (std::size_t i = inherited; i < patterns.size(); ++i)
        row("exclude", printable(patterns[i]));
    for (const auto& [name, value] : limit_rows(c)) row(name.c_str(), value);
    if (inherited != 0)
        row("", count_text(inherited, "pattern comes", "patterns come") +
                    " from presets and defaults: backupctl config show");
    const auto duration = [&](const char* key) {
        return duration_text(static_cast<double>(c.number(key)) / 1e6);
    };
    if (c.flag("automatic")) {
        row("runs by itself", "when changes were quiet for " + duration("settle-usec"));
        if (c.number("min-interval-usec") != 0)
            row("", "at most once in " + duration("min-interval-usec"));
    }
    if (c.number("interval-usec") != 0)
        row(c.flag("automatic") ? "" : "runs by itself",
            "when the last run is " + duration("interval-usec") + " old");
    if (!c.flag("automatic") && c.number("interval-usec") == 0)
        row("runs by itself", "never, only when asked");
    for (const auto& [name, value] : timing_rows(c, looks)) row(name.c_str(), value);
    for (const char* key : {"hooks-before", "hooks-after"}) {
        std::string command;
        for (const auto& word : c.texts(key)) command += (command.empty() ? "" : " ") + word;
        row(key == std::string_view("hooks-before") ? "before a run" : "after a run",
            printable(command));
    }
    row("hostname", printable(c.text("hostname")));
    if (c.flag("one-file-system")) row("one-file-system", "yes");
    if (c.number("larger-than") > 0)
        row("not larger than", size_text(c.number("larger-than"), looks));
    row("cachedir-tag",
        c.flag("cachedir-tag") ? "folders with CACHEDIR.TAG are left out" : "ignored");
    row("nodump", c.flag("nodump") ? "files marked by chattr +d are left out" : "ignored");
    row("keeps", !c.has("keep") || c.text("keep") == "none" ? "every revision" : c.text("keep"));
    if (c.has("guard") && c.text("guard") != "default") row("guard", c.text("guard"));
    if (c.has("drill") && c.text("drill") != "default") row("drill", c.text("drill"));
    row("enabled", c.flag("enabled") ? "yes" : "no");
}

Result<Dict> settings_of(const Context& context) {
    const Arguments& args = context.args();
    Dict config;
    if (auto repository = args.value("--repo")) config.set("repository", Value(*repository));
    if (auto title = args.value("--title")) config.set("title", Value(*title));
    if (auto interval = args.value("--interval")) {
        std::uint64_t seconds = *interval == "none" || *interval == "off"
                                    ? 0
                                    : TRY_DURING(parse_duration(*interval), "--interval");
        config.set("interval-usec", Value(seconds * 1'000'000));
    }
    if (auto gap = args.value("--min-interval")) {
        std::uint64_t seconds =
            *gap == "none" || *gap == "0" ? 0 : TRY_DURING(parse_duration(*gap), "--min-interval");
        config.set("min-interval-usec", Value(seconds * 1'000'000));
    }
    if (auto period = args.value("--reconcile")) {
        std::uint64_t seconds =
            *period == "none" ? 0 : TRY_DURING(parse_duration(*period), "--reconcile");
        config.set("reconcile-usec", Value(seconds * 1'000'000));
    }
    if (auto settle = args.value("--settle")) {
        config.set("settle-usec", Value(TRY_DURING(settle_usec(*settle), "--settle")));
    }
    if (auto size = args.value("--larger-than")) {
        std::uint64_t bytes = *size == "none" ? 0 : TRY_DURING(parse_size(*size), "--larger-than");
        config.set("larger-than", Value(bytes));
    }
    if (auto keep = args.value("--keep")) config.set("keep", Value(*keep));
    if (auto name = args.value("--hostname"))
        config.set("hostname", Value(*name == "none" ? std::string() : *name));
    if (auto guard = args.value("--guard")) config.set("guard", Value(*guard));
    if (auto drill = args.value("--drill")) config.set("drill", Value(*drill));
    TRY(timing_settings(args, config));
    struct Switch {
        const char *on, *off, *key;
    };
    for (auto [on, off, key] :
         {Switch{"--one-file-system", "--all-file-systems", "one-file-system"},
          Switch{"--cachedir-tag", "--no-cachedir-tag", "cachedir-tag"},
          Switch{"--nodump", "--no-nodump", "nodump"},
          Switch{"--automatic", "--no-automatic", "automatic"},
          Switch{"--enable", "--disable", "enabled"}}) {
        if (args.flag(on) && args.flag(off))
            return usage(std::string(on) + " and " + off + " exclude each other");
        if (args.flag(on) || args.flag(off)) config.set(key, Value(args.flag(on)));
    }
    return config;
}

std::vector<OptionSpec> setting_options() {
    std::vector<OptionSpec> options = {
        {.name = "--repo",
         .value = "REPO",
         .help = "the repository that keeps it",
         .completion = Completion::repository},
        {.name = "--exclude",
         .value = "PATTERN",
         .help = "leave out what matches, as in .gitignore; '!' takes back in",
         .repeat = true},
        {.name = "--automatic", .help = "run by itself when changes have settled (the default)"},
        {.name = "--no-automatic", .help = "do not; run only by --interval or when asked"},
        {.name = "--settle",
         .value = "TIME",
         .help = "changes have settled when nothing happened to them for this long (500ms, 2s)"},
        {.name = "--min-interval",
         .value = "TIME",
         .help = "at least this long between two automatic runs (15min, 1h); 0: none"},
        {.name = "--reconcile",
         .value = "TIME",
         .help = "read everything again and compare when that was last done so long ago (30d); "
                 "none: only by run --full"},
        {.name = "--interval",
         .value = "TIME",
         .help = "run by itself when the last run is this old, changes or not (1h, 1d); none: off"},
        {.name = "--keep",
         .value = "RULES",
         .help =
             "which revisions to keep: \"last=10 hourly=24 daily=14 weekly=8 monthly=12 yearly=10 "
             "within=7d tag=T minimum=3\"; none: all"},
        {.name = "--hostname",
         .value = "NAME",
         .help = "the machine that revisions are recorded for; none: its own name"},
        {.name = "--guard",
         .value = "RULES",
         .help = "what is asked about before it counts: \"gone=50 removed=30 changed=50 opaque=50 "
                 "least=50\" (percent, files); off: only what is missing; default"},
        {.name = "--drill",
         .value = "RULES",
         .help = "how many files are given back for a try, and how often: \"every=7d files=64 "
                 "bytes=256MiB\"; off: only by backupctl drill; default"},
        {.name = "--title", .value = "TEXT", .help = "a name for people"},
        {.name = "--larger-than",
         .value = "SIZE",
         .help = "leave out files larger than this (500MiB, 2GiB); none: no limit"},
        {.name = "--one-file-system", .help = "stay on the file system of each path"},
        {.name = "--all-file-systems", .help = "follow into mounted file systems (the default)"},
        {.name = "--cachedir-tag",
         .help = "leave out folders marked by CACHEDIR.TAG (the default)"},
        {.name = "--no-cachedir-tag", .help = "take them, too"},
        {.name = "--nodump", .help = "leave out files marked by chattr +d (the default)"},
        {.name = "--no-nodump", .help = "take them, too"},
        {.name = "--enable", .help = "let it run by itself (the default)"},
        {.name = "--disable", .help = "keep it, but do not run it by itself"}};
    for (OptionSpec& option : limit_options()) options.push_back(std::move(option));
    for (OptionSpec& option : timing_options()) options.push_back(std::move(option));
    return options;
}

}  // namespace backup
