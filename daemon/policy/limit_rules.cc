#include "daemon/policy/limit_rules.h"

#include <charconv>

#include "common/path.h"
#include "daemon/policy/units.h"

namespace backup {

namespace {

Error bad_word(std::string_view word) {
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(word) +
                     "' is no limit; known are items=N bytes=SIZE file=SIZE churn=SIZE "
                     "revisions=N, each also with -warn, as in items-warn=N");
}

Result<> read_word(std::string_view word, Limits& limits) {
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) return bad_word(word);
    std::string_view name = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    const bool warns = name.ends_with(kWarnSuffix);
    if (warns) name.remove_suffix(kWarnSuffix.size());
    for (const LimitName& limit : kLimits) {
        if (limit.name != name) continue;
        std::uint64_t number = 0;
        if (limit.is_size) {
            auto size = parse_size(value);
            if (!size.ok()) return bad_word(word);
            number = *size;
        } else {
            auto [end, problem] =
                std::from_chars(value.data(), value.data() + value.size(), number);
            if (problem != std::errc{} || end != value.data() + value.size()) return bad_word(word);
        }
        (warns ? (limits.*limit.member).soft : (limits.*limit.member).hard) = number;
        return {};
    }
    return bad_word(word);
}

}  // namespace

Result<Limits> parse_limits(std::string_view text) {
    Limits limits;
    if (text == "none") return limits;
    while (!text.empty()) {
        const std::size_t end = text.find_first_of(" ,");
        const std::string_view word = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (!word.empty()) TRY(read_word(word, limits));
    }
    return limits;
}

std::string format_limit(const LimitName& name, std::uint64_t value) {
    return name.is_size ? format_size(value) : std::to_string(value);
}

std::string format_limits(const Limits& limits) {
    std::string text;
    const auto add = [&](const LimitName& name, std::string_view suffix, std::uint64_t value) {
        if (value == 0) return;
        text += (text.empty() ? "" : " ") + std::string(name.name) + std::string(suffix) + "=" +
                format_limit(name, value);
    };
    for (const LimitName& name : kLimits) {
        add(name, "", (limits.*name.member).hard);
        add(name, kWarnSuffix, (limits.*name.member).soft);
    }
    return text.empty() ? "none" : text;
}

}  // namespace backup
