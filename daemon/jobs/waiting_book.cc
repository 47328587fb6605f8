#include "daemon/jobs/waiting_book.h"

#include <sstream>
#include <vector>

#include "daemon/runtime/durable_file.h"

namespace backup {

namespace {

constexpr std::size_t kMostFile = std::size_t{1} << 20;
constexpr const char* kNone = "-";

std::string words_of(const Ignored& ignored) {
    std::string text;
    for (std::size_t i = 0; i < kConditions; ++i) {
        const auto condition = static_cast<Condition>(i);
        if (ignored.has(condition))
            text += (text.empty() ? "" : ",") + std::string(to_string(condition));
    }
    return text.empty() ? kNone : text;
}

Ignored ignored_from(const std::string& words) {
    Ignored ignored;
    std::istringstream list(words);
    for (std::string word; std::getline(list, word, ',');)
        if (const auto condition = condition_from_string(word)) ignored.add(*condition);
    return ignored;
}

}  // namespace

std::string format_waiting(const Waiting& waiting) {
    std::string text;
    for (const auto& [set, asked] : waiting.asked)
        text += "asked " + set + " " + std::to_string(to_usec(asked.run.since)) + " " +
                (asked.run.is_full ? "full" : "incremental") + " " + std::to_string(asked.run.uid) +
                " " + words_of(asked.ignored) + "\n";
    for (const auto& [of, since] : waiting.since)
        text += "since " + of.first + " " + std::string(to_string(of.second)) + " " +
                std::to_string(to_usec(since)) + "\n";
    return text;
}

Waiting parse_waiting(std::string_view text) {
    Waiting waiting;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string kind, set, word, ignored;
        std::uint64_t usec = 0;
        std::uint32_t uid = 0;
        if (!(words >> kind >> set)) continue;
        if (kind == "asked" && words >> usec >> word >> uid >> ignored)
            waiting.asked[set] = {{from_usec(usec), word == "full", uid}, ignored_from(ignored)};
        if (kind != "since" || !(words >> word >> usec)) continue;
        if (const auto condition = condition_from_string(word))
            waiting.since[{set, *condition}] = from_usec(usec);
    }
    return waiting;
}

Waiting read_waiting(const std::string& file) {
    auto text = read_small_file(file, kMostFile);
    return text.ok() ? parse_waiting(*text) : Waiting{};
}

}  // namespace backup
