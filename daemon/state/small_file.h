// Small text files beside the state: written whole and durable, or not at all. Any thread;
// blocking.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace backup::state {

// Nothing if the file does not exist. Reads at most 4 KiB.
Result<std::optional<std::string>> read_small_file(const std::string& path);
// Temporary name in the same folder, fsync, rename, fsync of the folder. Mode 0600.
Result<> write_small_file(const std::string& path, std::string_view content);

}  // namespace backup::state
