// The settings of a set as options, in words and in JSON.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"
#include "ctl/command.h"
#include "ctl/context.h"

namespace backup {

// --repo --exclude --automatic and the like, with those of limits and of when.
std::vector<OptionSpec> setting_options();
// What they say; lists of paths and patterns and the limits are the command's own business.
Result<Dict> settings_of(const Context& context);
JsonObject config_object(const Dict& config);
// As `set show` says it.
void print_config(Context& context, const std::string& id, const Dict& config);

}  // namespace backup
