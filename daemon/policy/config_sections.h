// The tables of configuration files, one function each: values into the policy, problems with their
// line. Pure. For config_file.cc.
#pragma once

#include <string>

#include "daemon/policy/config_file.h"
#include "daemon/policy/toml_document.h"

namespace backup {

// `where` names the table in messages: "" for a file of its own, else "[set.home]".
void read_repository(const TomlValue& root, const std::string& file, const std::string& name,
                     const std::string& where, LoadedPolicy& into);
void read_set(const TomlValue& root, const std::string& file, const std::string& name,
              const std::string& where, LoadedPolicy& into);
// A file of presets.d.
void read_preset(const TomlValue& root, const std::string& file, const std::string& name,
                 LoadedPolicy& into);
void read_engine(const TomlValue& root, const std::string& file, LoadedPolicy& into);
void read_tracking(const TomlValue& root, const std::string& file, LoadedPolicy& into);
void read_defaults(const TomlValue& root, const std::string& file, LoadedPolicy& into);

}  // namespace backup
