// KnownPlaces remembers where directories lie whose marks no watcher can resolve (a volume that is
// only scanned): what was marked by path can be named again. A hint of the past, so each answer is
// compared with what lies there now. Bounded; thread-safe.
#pragma once

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "daemon/watch/handle.h"

namespace backup {

class KnownPlaces {
  public:
    explicit KnownPlaces(std::size_t most = 100'000) : most_(most) {}

    void remember(const ObjectHandle& directory, const std::string& path);
    // Nothing: not known, or it is not there any more. Blocking (a look at the path).
    std::optional<std::string> path_of(const ObjectHandle& directory) const;

  private:
    const std::size_t most_;
    mutable std::mutex mutex_;
    std::unordered_map<ObjectHandle, std::string> paths_;
};

}  // namespace backup
