// Files that survive a power cut: written beside their place, synced, renamed, the folder synced.
// Blocking; thread-safe as far as two callers do not write the same path.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"

namespace backup {

// Makes missing folders (mode 0700). The old content stays until the new one is durable.
Result<> write_file_durably(const std::string& path, std::string_view content, unsigned mode);
// A missing file is success.
Result<> remove_file_durably(const std::string& path);
// Like `mkdir -p` with mode 0700 for what is made.
Result<> make_folders(const std::string& path);
// At most `most` bytes; more is `invalid`.
Result<std::string> read_small_file(const std::string& path, std::size_t most);

}  // namespace backup
