// Why runs wait, and the settings of a set that say when and how much, in words and in JSON.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"
#include "ctl/command.h"
#include "ctl/context.h"

namespace backup {

// Of the conditions of a set, those that are not met and that something waits for.
std::vector<Dict> unmet(const std::vector<Dict>& conditions);
std::vector<JsonObject> condition_objects(const Context& context,
                                          const std::vector<Dict>& conditions);
// "no window is open until 22:00 (for 3 hours)"
std::string condition_sentence(const Dict& condition, const Context& context);

// --window --jitter --max-deferral --avoid --upload-rate --download-rate --priority
std::vector<OptionSpec> timing_options();
Result<> timing_settings(const Arguments& args, Dict& config);
void add_timing(JsonObject& object, const Dict& config);
// Rows of `set show`: what is not at its default.
std::vector<std::pair<std::string, std::string>> timing_rows(const Dict& config,
                                                             const Looks& looks);

}  // namespace backup
