#include "daemon/tracking/known_places.h"

#include <fcntl.h>

#include "daemon/watch/watcher.h"

namespace backup {

void KnownPlaces::remember(const ObjectHandle& directory, const std::string& path) {
    std::lock_guard lock(mutex_);
    // The next scan tells again what is still waiting.
    if (paths_.size() >= most_ && !paths_.contains(directory)) paths_.clear();
    paths_[directory] = path;
}

std::optional<std::string> KnownPlaces::path_of(const ObjectHandle& directory) const {
    std::string path;
    {
        std::lock_guard lock(mutex_);
        auto found = paths_.find(directory);
        if (found == paths_.end()) return std::nullopt;
        path = found->second;
    }
    auto now = handle_of(AT_FDCWD, path.c_str());
    if (!now.ok() || *now != directory) return std::nullopt;
    return path;
}

}  // namespace backup
