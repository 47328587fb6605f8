#include "ctl/limit_words.h"

#include <algorithm>

#include "common/path.h"
#include "ctl/sizes.h"
#include "ctl/stream.h"

namespace backup {

namespace {

std::string joined(const std::vector<std::string>& words, const char* between) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

std::string amount(const Record& record, const Looks& looks) {
    return count_text(record.number("items"), "item", "items") + ", " +
           size_text(record.number("bytes"), looks);
}

std::string rule_name(const Record& record) {
    const std::string rule = record.text("rule");
    if (rule == "pattern") return "pattern " + printable(record.bytes("pattern"));
    if (rule == "own") return "backupd's own";
    return rule;
}

std::string limit_value(std::uint64_t value, bool is_size, const Looks& looks) {
    return is_size ? size_text(value, looks) : count_text(value);
}

class Reader {
  public:
    Reader(const Looks& looks, Simulated& out) : looks_(looks), out_(out) {}

    void read(const Record& record) {
        const std::string part = record.text("part");
        if (part == "path") return path(record);
        if (part == "rule") return rule(record);
        if (part == "limit") return limit(record);
        if (part == "left-out") return left_out(record);
        if (part == "total") total(record);
    }

  private:
    void say(const std::string& text) { out_.text.push_back(text); }

    void path(const Record& record) {
        out_.paths.push_back(JsonObject()
                                 .add_bytes("path", record.bytes("path"))
                                 .add("items", record.number("items"))
                                 .add("bytes", record.number("bytes")));
        say("protects  " + printable(record.bytes("path")) + ": " + amount(record, looks_));
    }

    void rule(const Record& record) {
        JsonObject object;
        object.add("rule", record.text("rule"));
        if (!record.bytes("pattern").empty()) object.add_bytes("pattern", record.bytes("pattern"));
        if (!record.bytes("origin").empty()) object.add_bytes("origin", record.bytes("origin"));
        out_.rules.push_back(object.add_bytes("example", record.bytes("example"))
                                 .add("places", record.number("places"))
                                 .add("items", record.number("items"))
                                 .add("bytes", record.number("bytes")));
        const std::string origin = printable(record.bytes("origin"));
        const std::uint64_t more = record.number("places") - 1;
        std::string text = "leaves out  " + printable(record.bytes("example"));
        if (more > 0) text += " and " + count_text(more, "more place", "more places");
        if (record.number("items") != 0) text += ": " + amount(record, looks_);
        say(text + "  (" + rule_name(record) + (origin.empty() ? "" : ", " + origin) + ")");
    }

    void limit(const Record& record) {
        const bool is_size = record.flag("size"), is_hit = record.flag("hit");
        const std::uint64_t soft = record.number("soft"), hard = record.number("hard");
        const std::uint64_t wanted = record.number("wanted");
        const std::string name = record.text("limit");
        JsonObject object;
        object.add("limit", name).add("soft", soft).add("hard", hard).add("hit", is_hit);
        if (record.has("wanted")) object.add("wanted", wanted);
        out_.limits.push_back(object);
        out_.is_hit = out_.is_hit || is_hit;
        std::string text = "limit  " + name + ": ";
        if (record.has("wanted")) text += limit_value(wanted, is_size, looks_) + " wanted, ";
        if (soft != 0) text += "soft limit " + limit_value(soft, is_size, looks_);
        if (hard != 0)
            text +=
                (soft != 0 ? ", hard limit " : "hard limit ") + limit_value(hard, is_size, looks_);
        if (is_hit)
            text += ": beyond it";
        else if (soft != 0 && wanted > soft)
            text += ": over the soft one";
        say(text);
    }

    void left_out(const Record& record) {
        constexpr std::size_t kMostSaid = 10;
        out_.left_out.push_back(JsonObject()
                                    .add_bytes("path", record.bytes("path"))
                                    .add("limit", record.text("limit")));
        if (out_.left_out.size() <= kMostSaid)
            say("beyond the limit of " + record.text("limit") + "  " +
                printable(record.bytes("path")));
    }

    void total(const Record& record) {
        JsonObject object;
        for (const char* key : {"items", "bytes", "new_items", "new_bytes", "changed_files",
                                "changed_bytes", "left_out_items", "left_out_bytes"})
            object.add(key, record.number(key));
        out_.is_partial = record.flag("partial");
        out_.total = object.add("more_left_out", record.flag("more_left_out"))
                         .add("partial", out_.is_partial);
        if (record.number("left_out_items") != 0)
            say("left out by limits: " +
                count_text(record.number("left_out_items"), "item", "items") + ", " +
                size_text(record.number("left_out_bytes"), looks_));
        if (out_.is_partial) say("There was no time to look at all of it: at least so much.");
        if (record.has("problem"))
            say("as if there were no revision yet: " + printable(record.text("problem")));
    }

    const Looks& looks_;
    Simulated& out_;
};

}  // namespace

std::vector<OptionSpec> limit_options() {
    return {{.name = "--limit",
             .value = "LIMIT",
             .help = "beyond it nothing new is taken in: items=N, bytes=SIZE, file-size=SIZE, "
                     "churn=SIZE (a day), revisions=N; soft-items=N and so on only tell; NAME=none "
                     "takes one away, none all",
             .repeat = true},
            {.name = "--preset",
             .value = "NAME",
             .help = "leave out what a list of patterns names: caches, system, builds, or one of "
                     "presets.d; none",
             .repeat = true}};
}

void limit_settings(const Arguments& args, const std::string& now, Dict& config) {
    if (args.flag("--limit")) {
        const auto words = args.values("--limit");
        const bool is_none = words.size() == 1 && words[0] == "none";
        const std::string before = now == "none" || now.empty() ? "" : now + " ";
        config.set("limits", Value(is_none ? std::string("none") : before + joined(words, " ")));
    }
    if (args.flag("--preset")) {
        auto names = args.values("--preset");
        if (names.size() == 1 && names[0] == "none") names.clear();
        config.set("presets", Value(names));
    }
}

void add_limits(JsonObject& object, const Dict& config) {
    object.add("limits", config.text("limits")).add("presets", config.texts("presets"));
}

std::vector<std::pair<std::string, std::string>> limit_rows(const Dict& config) {
    std::vector<std::pair<std::string, std::string>> rows;
    if (const auto presets = config.texts("presets"); !presets.empty())
        rows.emplace_back("presets", joined(presets, ", "));
    if (const auto limits = config.text("limits"); !limits.empty() && limits != "none")
        rows.emplace_back("limits", limits);
    return rows;
}

Result<Simulated> simulate_set(Context& context, Client& client, const std::string& id,
                               const Dict& config, std::uint64_t longest) {
    Dict options;
    options.set("seconds", Value(longest));
    Stream stream(TRY(client.simulate(id, config, options)));
    Simulated simulated;
    Reader reader(context.looks(), simulated);
    while (auto record = TRY(stream.next())) reader.read(*record);
    return simulated;
}

JsonObject simulation_object(const Simulated& simulated) {
    return JsonObject()
        .add("paths", simulated.paths)
        .add("rules", simulated.rules)
        .add("limits", simulated.limits)
        .add("left_out", simulated.left_out)
        .add("total", simulated.total);
}

}  // namespace backup
