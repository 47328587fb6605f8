#include "daemon/restore/conflict.h"

#include <ctime>
#include <utility>

namespace backup {

namespace {

constexpr std::pair<ConflictMode, std::string_view> kModes[] = {
    {ConflictMode::fail, "fail"},       {ConflictMode::keep_both, "keep-both"},
    {ConflictMode::skip, "skip"},       {ConflictMode::newer, "newer"},
    {ConflictMode::replace, "replace"},
};

constexpr std::size_t kLongestName = 255;

// Where the extension begins; the length of the name when it has none.
std::size_t extension_begin(std::string_view name) {
    std::size_t dot = name.rfind('.');
    // A leading dot hides a file, and a tail with a blank in it or of more than 10 bytes is no
    // extension.
    if (dot == name.npos || dot == 0 || name.size() - dot > 11 || dot + 1 == name.size() ||
        name.find(' ', dot) != name.npos)
        return name.size();
    constexpr std::string_view kTar = ".tar";
    if (dot > kTar.size() && name.substr(0, dot).ends_with(kTar)) dot -= kTar.size();
    return dot;
}

std::string_view shortened(std::string_view text, std::size_t most) {
    if (text.size() <= most) return text;
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
    return text.substr(0, most);
}

}  // namespace

Result<ConflictMode> parse_conflict_mode(std::string_view text) {
    for (const auto& [mode, name] : kModes)
        if (name == text) return mode;
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "unknown conflict mode \"" + std::string(text) +
                     "\": one of fail, keep-both, skip, newer, replace");
}

std::string_view to_string(ConflictMode mode) {
    for (const auto& [known, name] : kModes)
        if (known == mode) return name;
    return "unknown";
}

Action decide(ConflictMode mode, const Existing& existing) {
    if (!existing.is_there) return Action::create;
    if (existing.same_type && existing.same_content && existing.same_metadata)
        return Action::unchanged;
    switch (mode) {
        case ConflictMode::fail:
            return Action::conflict;
        case ConflictMode::keep_both:
            return Action::keep_both;
        case ConflictMode::skip:
            return Action::skip;
        case ConflictMode::newer:
            if (!existing.same_type || existing.is_newer) return Action::skip;
            break;
        case ConflictMode::replace:
            break;
    }
    if (existing.is_filled_directory) return Action::refuse;
    // Metadata is set on the file itself only when no other name shows it, too.
    if (existing.same_type && existing.same_content && !existing.is_shared)
        return Action::set_metadata;
    return Action::replace;
}

std::string backup_suffix(Timestamp revision_time) {
    const auto since_epoch =
        std::chrono::floor<std::chrono::seconds>(revision_time).time_since_epoch();
    const std::time_t seconds = since_epoch.count();
    std::tm parts{};
    char text[64] = "";
    if (localtime_r(&seconds, &parts) != nullptr)
        std::strftime(text, sizeof text, "%Y-%m-%d %H.%M", &parts);
    return " (backup " + std::string(text) + ")";
}

std::string keep_both_name(std::string_view name, std::string_view suffix, unsigned attempt) {
    std::string middle(suffix);
    if (attempt > 1) middle.insert(middle.size() - 1, " " + std::to_string(attempt));
    const std::size_t dot = extension_begin(name);
    const std::string_view extension = name.substr(dot);
    const std::size_t room = kLongestName - middle.size() - extension.size();
    return std::string(shortened(name.substr(0, dot), room)) + middle + std::string(extension);
}

}  // namespace backup
