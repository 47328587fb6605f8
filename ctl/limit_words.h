// Limits and presets of a set as options and in words, and what a simulation of a set says.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "ctl/command.h"
#include "ctl/context.h"

namespace backup {

// --limit --preset
std::vector<OptionSpec> limit_options();
// `now`: the set's limits as they are; single words change single limits.
void limit_settings(const Arguments& args, const std::string& now, Dict& config);
void add_limits(JsonObject& object, const Dict& config);
std::vector<std::pair<std::string, std::string>> limit_rows(const Dict& config);

struct Simulated {
    std::vector<JsonObject> paths, rules, limits, left_out;
    std::vector<std::string> text;  // lines for people
    JsonObject total;
    bool is_hit = false;  // a hard limit leaves something out
    bool is_partial = false;
};
// `longest`: seconds.
Result<Simulated> simulate_set(Context& context, Client& client, const std::string& id,
                               const Dict& config, std::uint64_t longest);
JsonObject simulation_object(const Simulated& simulated);

}  // namespace backup
