#include "daemon/policy/limit_rules.h"

#include <charconv>

#include "common/path.h"
#include "daemon/policy/toml_document.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

constexpr std::string_view kSoft = "soft-";
// Numbers of the bus and of TOML are signed in places.
constexpr std::uint64_t kMostCount = INT64_MAX;

Error bad_word(std::string_view word) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(word) +
                     "' is no limit; known are items=N bytes=SIZE file-size=SIZE churn=SIZE (a "
                     "day) revisions=N, and the same as soft-items=N ...");
}

std::optional<std::uint64_t> parse_value(const LimitName& limit, std::string_view text) {
    if (limit.is_size) {
        auto size = parse_size(text);
        return size.ok() ? std::optional(*size) : std::nullopt;
    }
    std::uint64_t number = 0;
    auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || end != text.data() + text.size() || number > kMostCount)
        return std::nullopt;
    return number;
}

// A warning that can never come is a mistake.
std::string contradiction(const Limits& limits) {
    for (const LimitName& limit : kLimits) {
        const std::uint64_t soft = limits.soft.*limit.member, hard = limits.hard.*limit.member;
        if (soft != 0 && hard != 0 && soft > hard)
            return "the soft limit of " + std::string(limit.name) + " (" +
                   format_limit(limit, soft) + ") is above the hard one (" +
                   format_limit(limit, hard) + ")";
    }
    return {};
}

void read_values(ConfigTable& limits, const char* which, const std::string& file,
                 LoadedPolicy& into, LimitValues& out) {
    const TomlValue* root = limits.table(which);
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[limits." + std::string(which) + "]", into.problems);
    for (const LimitName& limit : kLimits) {
        if (limit.is_size) {
            table.size(limit.name, out.*limit.member);
            continue;
        }
        auto number = static_cast<std::int64_t>(out.*limit.member);
        table.whole_number(limit.name, 0, INT64_MAX, number);
        out.*limit.member = static_cast<std::uint64_t>(number);
    }
    table.finish();
}

std::string values_table(const LimitValues& values, const std::string& name) {
    if (!values.any()) return {};
    std::string out = "\n[" + name + "]\n";
    for (const LimitName& limit : kLimits) {
        const std::uint64_t value = values.*limit.member;
        if (value == 0) continue;
        const std::string text = format_limit(limit, value);
        out += std::string(limit.name) + " = " + (limit.is_size ? toml_quoted(text) : text) + "\n";
    }
    return out;
}

}  // namespace

std::string format_limit(const LimitName& limit, std::uint64_t value) {
    return limit.is_size ? format_size(value) : std::to_string(value);
}

Result<Limits> parse_limits(std::string_view text) {
    Limits limits;
    if (text == "none") return limits;
    const auto read_word = [&](const RuleWord& word) -> Result<> {
        const bool is_soft = word.name.starts_with(kSoft);
        const std::string_view name = is_soft ? word.name.substr(kSoft.size()) : word.name;
        for (const LimitName& limit : kLimits) {
            if (limit.name != name) continue;
            const auto value =
                word.value == "none" ? std::uint64_t{0} : parse_value(limit, word.value);
            if (!value) return bad_word(word.text);
            LimitValues& values = is_soft ? limits.soft : limits.hard;
            values.*limit.member = *value;
            return {};
        }
        return bad_word(word.text);
    };
    TRY(each_rule_word(text, read_word, bad_word));
    if (const std::string wrong = contradiction(limits); !wrong.empty())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, wrong);
    return limits;
}

std::string format_limits(const Limits& limits) {
    std::string text;
    for (const bool is_soft : {false, true}) {
        for (const LimitName& limit : kLimits) {
            const std::uint64_t value = (is_soft ? limits.soft : limits.hard).*limit.member;
            if (value == 0) continue;
            text += (text.empty() ? "" : " ") + std::string(is_soft ? kSoft : "") +
                    std::string(limit.name) + "=" + format_limit(limit, value);
        }
    }
    return text.empty() ? "none" : text;
}

void read_limits(ConfigTable& set, const std::string& file, LoadedPolicy& into, Limits& out) {
    const TomlValue* root = set.table("limits");
    if (root == nullptr) return;
    ConfigTable table(*root, file, "[limits]", into.problems);
    read_values(table, "soft", file, into, out.soft);
    read_values(table, "hard", file, into, out.hard);
    table.finish();
    if (const std::string wrong = contradiction(out); !wrong.empty())
        set.problem(set.line_of("limits"), wrong);
}

std::string limits_tables(const Limits& limits, const std::string& prefix) {
    return values_table(limits.soft, prefix + ".soft") +
           values_table(limits.hard, prefix + ".hard");
}

}  // namespace backup
