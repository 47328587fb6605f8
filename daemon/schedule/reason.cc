#include "daemon/schedule/reason.h"

#include <array>

#include "common/path.h"

namespace backup {

namespace {

struct Word {
    Condition condition;
    std::string_view word;
    bool may_be_ignored;
};
constexpr std::array<Word, kConditions> kWords = {{
    {Condition::paused, "paused", true},
    {Condition::inhibited, "inhibited", true},
    {Condition::guard, "guard", false},
    {Condition::locked, "locked", false},
    {Condition::offline, "offline", true},
    {Condition::window, "window", true},
    {Condition::battery, "battery", true},
    {Condition::metered, "metered", true},
    {Condition::pressure, "pressure", true},
    {Condition::power_saver, "power-saver", true},
    {Condition::low_space, "low-space", false},
    {Condition::sleep, "sleep", false},
    {Condition::restore, "restore", false},
}};

std::string ignorable() {
    std::string list;
    for (const Word& word : kWords)
        if (word.may_be_ignored) list += (list.empty() ? "" : ", ") + std::string(word.word);
    return list;
}

}  // namespace

std::string_view to_string(Condition condition) {
    return kWords[static_cast<std::size_t>(condition)].word;
}

std::optional<Condition> condition_from_string(std::string_view text) {
    for (const Word& word : kWords)
        if (word.word == text) return word.condition;
    return std::nullopt;
}

std::string to_second(Timestamp time) {
    return format_rfc3339(std::chrono::floor<std::chrono::seconds>(time));
}

Result<Ignored> Ignored::parse(const std::vector<std::string>& words) {
    Ignored ignored;
    for (const std::string& text : words) {
        bool found = false;
        for (const Word& word : kWords) {
            if (text != "all" && text != word.word) continue;
            if (word.may_be_ignored) ignored.add(word.condition);
            found = found || word.may_be_ignored;
            if (text == word.word && !word.may_be_ignored)
                return Error(
                    ErrorKind::invalid, ErrorCode::invalid_arguments,
                    "'" + text + "' cannot be ignored; what can: " + ignorable() + ", all");
        }
        if (!found)
            return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                         "there is no condition '" + printable(text) +
                             "' to ignore; what can be: " + ignorable() + ", all");
    }
    return ignored;
}

}  // namespace backup
