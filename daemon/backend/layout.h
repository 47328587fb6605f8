// Where files live below the root of a repository, in restic's default layout. Pure functions.
//
//     config   keys/<id>   locks/<id>   snapshots/<id>   index/<id>   data/<first two digits>/<id>
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/backend/backend.h"

namespace backup {

// "keys", "data" ...; empty for the config, which lies at the root.
std::string_view layout_directory(FileType type);
// Relative to the root: "data/1a/1a2b...".
std::string layout_path(const Handle& handle);
// Of a file name in the directory of a type: its id. Nothing for names that are not exactly 64
// lower case digits.
std::optional<FileId> layout_id(std::string_view file_name);

}  // namespace backup
