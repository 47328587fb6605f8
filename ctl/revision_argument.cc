#include "ctl/revision_argument.h"

#include <algorithm>
#include <vector>

#include "common/path.h"

namespace backup {

namespace {

constexpr std::size_t kShortestPrefix = 6;

bool all_of(std::string_view text, std::string_view allowed) {
    return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

std::optional<std::string> revision_word(std::string_view text) {
    if (text == "latest") return std::string(text);
    if (all_of(text, "0123456789") && text.size() <= 19) return std::string(text);
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (all_of(lower, "0123456789abcdef") && lower.size() >= kShortestPrefix && lower.size() <= 64)
        return lower;
    return std::nullopt;
}

bool is_set_name(std::string_view text) {
    return all_of(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") &&
           text != "." && text != "..";
}

std::optional<RevisionArgument> read(std::string_view text) {
    std::size_t slash = text.rfind('/');
    std::string_view set = slash == std::string_view::npos ? "" : text.substr(0, slash);
    std::string_view rest = slash == std::string_view::npos ? text : text.substr(slash + 1);
    if (slash != std::string_view::npos && !is_set_name(set)) return std::nullopt;
    auto word = revision_word(rest);
    if (!word) return std::nullopt;
    return RevisionArgument{std::string(set), *word};
}

}  // namespace

bool RevisionArgument::is_number() const {
    return revision.size() < kShortestPrefix && all_of(revision, "0123456789");
}

Result<RevisionArgument> parse_revision_argument(std::string_view text) {
    if (auto argument = read(text)) return *argument;
    return Error(ErrorKind::invalid, ErrorCode::invalid_arguments,
                 "'" + printable(text) +
                     "' does not name a revision\ntry: latest, 7, home/7, home/latest, or an id of "
                     "which six digits are enough (backupctl revisions lists them)");
}

PathArgument parse_path_argument(std::string_view text) {
    PathArgument argument;
    argument.path = text;
    if (text.empty() || text.front() == '/' || text.front() == '.') return argument;
    std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return argument;
    auto revision = read(text.substr(0, colon));
    if (!revision) return argument;
    argument.revision = std::move(revision);
    argument.path = text.substr(colon + 1);
    return argument;
}

Result<std::string> absolute_path(std::string_view path, std::string_view current_directory) {
    if (path.find('\0') != std::string_view::npos)
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, "a path with a NUL byte");
    if (path.empty())
        return Error(ErrorKind::invalid, ErrorCode::invalid_arguments, "an empty path");
    std::string whole;
    if (path.front() != '/') {
        if (current_directory.empty() || current_directory.front() != '/')
            return Error(
                ErrorKind::invalid, ErrorCode::invalid_arguments,
                "'" + printable(path) +
                    "' is relative and the current directory has no name; give a path that "
                    "begins with '/'");
        whole = std::string(current_directory) + "/";
    }
    whole += path;
    std::vector<std::string_view> parts;
    std::string_view rest(whole);
    while (!rest.empty()) {
        std::size_t slash = rest.find('/');
        std::string_view part = rest.substr(0, slash);
        rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
        if (part.empty() || part == ".") continue;
        if (part == "..") {
            if (!parts.empty()) parts.pop_back();
        } else {
            parts.push_back(part);
        }
    }
    std::string absolute;
    for (auto part : parts) absolute.append("/").append(part);
    return absolute.empty() ? std::string("/") : absolute;
}

}  // namespace backup
