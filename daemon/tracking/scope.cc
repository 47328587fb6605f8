#include "daemon/tracking/scope.h"

#include <algorithm>

namespace backup {

bool is_at_or_below(std::string_view path, std::string_view ancestor) {
    if (ancestor == "/") return true;
    if (!path.starts_with(ancestor)) return false;
    return path.size() == ancestor.size() || path[ancestor.size()] == '/';
}

std::string join_path(std::string_view directory, std::string_view name) {
    std::string joined(directory);
    if (joined.empty() || joined.back() != '/') joined += '/';
    joined += name;
    return joined;
}

Result<Scope> Scope::make(const BackupSet& set, std::vector<std::string> never_enter) {
    Scope scope;
    scope.paths_ = set.paths;
    scope.never_enter_ = std::move(never_enter);
    scope.matcher_ = TRY(Matcher::compile(set.exclude.patterns));
    return scope;
}

Scope::Place Scope::of_directory(std::string_view path) const {
    return place(path, true);
}

Scope::Place Scope::of_file(std::string_view path) const {
    return place(path, false);
}

Scope::Place Scope::place(std::string_view path, bool is_directory) const {
    for (const std::string& place : never_enter_)
        if (is_at_or_below(path, place)) return Place::outside;
    const Path* deepest = nullptr;
    bool is_above = false;
    for (const Path& target : paths_) {
        if (is_at_or_below(path, target.text())) {
            if (deepest == nullptr || target.text().size() > deepest->text().size())
                deepest = &target;
        } else if (is_directory && is_at_or_below(target.text(), path)) {
            is_above = true;
        }
    }
    if (deepest != nullptr && excluded_by(path, is_directory).empty()) return Place::inside;
    return is_above ? Place::above : Place::outside;
}

bool Scope::is_path(std::string_view path) const {
    return std::ranges::any_of(paths_, [&](const Path& each) { return each.text() == path; });
}

std::string Scope::excluded_by(std::string_view path, bool is_directory) const {
    if (matcher_.empty()) return {};
    std::size_t begin = 0;
    for (const Path& target : paths_)
        if (is_at_or_below(path, target.text()))
            begin = std::max(begin, target.is_root() ? std::size_t{1} : target.text().size() + 1);
    // A path of the set is protected whatever the patterns say; what lies below is asked for from
    // there down.
    while (begin != 0 && begin < path.size()) {
        std::size_t end = std::min(path.find('/', begin), path.size());
        std::string_view prefix = path.substr(0, end);
        bool is_last = end == path.size();
        std::string_view name = path.substr(begin, end - begin);
        bool as_directory = !is_last || is_directory;
        if (matcher_.excludes(prefix, name, as_directory))
            return matcher_.deciding_pattern(prefix, name, as_directory).value_or("a pattern");
        begin = end + 1;
    }
    return {};
}

}  // namespace backup
