#include "daemon/tracking/look_plan.h"

#include <algorithm>

namespace backup::tracking {

std::string_view parent_of(std::string_view path) {
    if (path.size() <= 1) return {};
    std::size_t slash = path.rfind('/');
    return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

std::string_view name_of(std::string_view path) {
    return path.substr(path.rfind('/') + 1);
}

std::string child_of(std::string_view directory, std::string_view name) {
    std::string path;
    path.reserve(directory.size() + 1 + name.size());
    path += directory;
    if (directory != "/") path += '/';
    path += name;
    return path;
}

bool is_below(std::string_view path, std::string_view ancestor) {
    if (ancestor == "/") return true;
    return path.starts_with(ancestor) &&
           (path.size() == ancestor.size() || path[ancestor.size()] == '/');
}

void LookPlan::add_name(std::string_view path) {
    std::string_view directory = parent_of(path);
    if (directory.empty()) return;
    add_directory(std::string(directory)).names.emplace_back(name_of(path));
}

// Where a directory has its entry, all above it have theirs.
LookPlan::Directory& LookPlan::add_directory(const std::string& path) {
    auto [at, is_new] = directories.try_emplace(path);
    Directory& directory = at->second;  // stays where it is while others are added
    if (is_new) add_name(path);
    return directory;
}

LookAt::Directory LookPlan::directory(const std::string& path) const {
    if (everything) return LookAt::Directory::all;
    auto found = directories.find(path);
    bool is_known = found != directories.end();
    if (is_known && (found->second.listing || found->second.subtree)) return LookAt::Directory::all;
    if (has_subtrees) {
        for (std::string_view above = parent_of(path); !above.empty(); above = parent_of(above)) {
            auto at = directories.find(std::string(above));
            if (at != directories.end() && at->second.subtree) return LookAt::Directory::all;
        }
    }
    return is_known ? LookAt::Directory::entries : LookAt::Directory::untouched;
}

std::vector<std::string> LookPlan::entries(const std::string& path) const {
    auto found = directories.find(path);
    if (found == directories.end()) return {};
    return found->second.names;
}

bool LookPlan::must_read(const std::string& path) const {
    if (read_everything || must_read_files.count(path) != 0) return true;
    if (!has_read_all) return false;
    std::string_view directory = parent_of(path);
    auto found = directories.find(std::string(directory));
    if (found != directories.end() && found->second.read_all) return true;
    for (; !directory.empty(); directory = parent_of(directory)) {
        auto at = directories.find(std::string(directory));
        if (at != directories.end() && at->second.subtree && at->second.read_all) return true;
    }
    return false;
}

}  // namespace backup::tracking
