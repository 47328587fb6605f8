#include "daemon/policy/drill_rules.h"

#include <algorithm>

#include "common/path.h"
#include "daemon/policy/config_table.h"
#include "daemon/policy/toml_document.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

Error bad_word(std::string_view word) {
    return Error(
        ErrorKind::invalid, ErrorCode::invalid_arguments,
        "'" + printable(word) + "' is no rule; known are every=TIME (or off) files=N bytes=SIZE");
}

// In one word, and so that it reads back as the same.
std::string in_a_word(std::string text) {
    std::erase(text, ' ');
    return text;
}

std::string every_text(const DrillRules& rules) {
    return rules.every_seconds == 0 ? "off" : format_interval(rules.every_seconds);
}

Result<> read_word(const RuleWord& word, DrillRules& rules) {
    if (word.name == "every") {
        auto every = parse_interval(word.value);
        if (!every.ok()) return bad_word(word.text);
        rules.every_seconds = *every;
    } else if (word.name == "files") {
        auto files = parse_count(word.value, kMostDrilled);
        if (!files || *files == 0) return bad_word(word.text);
        rules.files = *files;
    } else if (word.name == "bytes") {
        auto bytes = parse_size(word.value);
        if (!bytes.ok() || *bytes == 0) return bad_word(word.text);
        rules.bytes = *bytes;
    } else {
        return bad_word(word.text);
    }
    return {};
}

}  // namespace

Result<DrillRules> parse_drill_rules(std::string_view text) {
    DrillRules rules;
    if (text == "default") return rules;
    if (text == "off") {
        rules.every_seconds = 0;
        return rules;
    }
    TRY(each_rule_word(
        text, [&](const RuleWord& word) { return read_word(word, rules); }, bad_word));
    return rules;
}

std::string format_drill_rules(const DrillRules& rules) {
    const DrillRules plain;
    std::string text;
    const auto add = [&](std::string_view name, const std::string& value) {
        text += (text.empty() ? "" : " ") + std::string(name) + "=" + in_a_word(value);
    };
    if (rules.every_seconds != plain.every_seconds) add("every", every_text(rules));
    if (rules.files != plain.files) add("files", std::to_string(rules.files));
    if (rules.bytes != plain.bytes) add("bytes", format_size(rules.bytes));
    return text.empty() ? "default" : text;
}

void read_drill(ConfigTable& set, const std::string& file, LoadedPolicy& into, DrillRules& out) {
    const TomlValue* root = set.table("drill");
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[drill]", into.problems);
    table.interval("every", out.every_seconds);
    std::int64_t files = out.files;
    table.whole_number("files", 1, kMostDrilled, files);
    out.files = static_cast<std::uint32_t>(files);
    std::uint64_t bytes = out.bytes;
    if (table.size("bytes", bytes) == ConfigTable::Taken::ok) {
        if (bytes == 0)
            table.problem(table.line_of("bytes"), "\"bytes\" must be 1 or more");
        else
            out.bytes = bytes;
    }
    table.finish();
}

std::string drill_body(const DrillRules& rules) {
    const DrillRules plain;
    std::string out;
    if (rules.every_seconds != plain.every_seconds)
        out += "every = " + toml_quoted(every_text(rules)) + "\n";
    if (rules.files != plain.files) out += "files = " + std::to_string(rules.files) + "\n";
    if (rules.bytes != plain.bytes)
        out += "bytes = " + toml_quoted(format_size(rules.bytes)) + "\n";
    return out;
}

}  // namespace backup
