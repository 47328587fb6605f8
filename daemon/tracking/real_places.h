// RealPlaces says where paths of sets lie that are named through symbolic links: mounts are told by
// real places, and all else by the names that the set uses. It looks at links when it is made, and
// needs nothing that they lead to: what is behind them may not be mounted. A value.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/path.h"

namespace backup {

class RealPlaces {
  public:
    RealPlaces() = default;
    explicit RealPlaces(const std::vector<Path>& paths);

    // Where something lies that is named as the sets do.
    std::string real(std::string_view named) const;
    // How what lies at `real`, at or below the real place of `path`, is named below `path`.
    std::string named(const Path& path, std::string_view real) const;

  private:
    std::map<std::string, std::string> real_;  // only what lies elsewhere
};

}  // namespace backup
