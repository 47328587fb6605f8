// Scope says what a set protects, by path: below one of its paths and not excluded by a pattern.
// Rules that need a look at the object (cache tags, nodump, size) are not for here: what they leave
// out counts as inside, and the walk leaves it out. Pure; immutable; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "daemon/policy/matcher.h"
#include "daemon/policy/policy.h"

namespace backup {

class Scope {
  public:
    enum class Place : std::uint8_t {
        outside,  // excluded, or elsewhere
        above,    // a directory that leads to a path of the set
        inside,
    };

    // `never_enter`: places of our own (state, local repositories).
    static Result<Scope> make(const BackupSet& set, std::vector<std::string> never_enter);

    Place of_directory(std::string_view path) const;
    Place of_file(std::string_view path) const;
    // The pattern that excludes it, or empty.
    std::string excluded_by(std::string_view path, bool is_directory) const;

    const std::vector<Path>& paths() const { return paths_; }
    // One of the paths itself.
    bool is_path(std::string_view path) const;

  private:
    Place place(std::string_view path, bool is_directory) const;

    std::vector<Path> paths_;
    std::vector<std::string> never_enter_;
    Matcher matcher_;
};

// True for equal paths, too. "/" contains everything.
bool is_at_or_below(std::string_view path, std::string_view ancestor);
std::string join_path(std::string_view directory, std::string_view name);

}  // namespace backup
