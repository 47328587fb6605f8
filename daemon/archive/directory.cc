#include "daemon/archive/directory.h"

#include <algorithm>

namespace backup {

void append_path(std::string& path, std::string_view name) {
    if (path.empty() || path.back() != '/') path += '/';
    path += name;
}

std::string path_of(const Directory& directory) {
    std::vector<const Directory*> chain;
    const Directory* at = &directory;
    while (at->path.empty()) {
        chain.push_back(at);
        at = at->parent;
    }
    std::string path = at->path;
    for (auto step = chain.rbegin(); step != chain.rend(); ++step) append_path(path, (*step)->name);
    return path;
}

}  // namespace backup
