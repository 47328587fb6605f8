// Presets are named lists of patterns that sets refer to: those that come with the program, then
// presets.d/NAME.toml of the layers of the configuration, the later ones winning as a whole. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace backup {

struct Preset {
    std::string title;
    std::vector<std::string> exclude;
    std::string origin;  // file:line, or "preset NAME" of the program's own
    bool operator==(const Preset&) const = default;
};
using Presets = std::map<std::string, Preset>;

// caches, system, builds.
const Presets& shipped_presets();

}  // namespace backup
