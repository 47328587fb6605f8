// Trees as a tar archive (POSIX.1-2001, "pax"), for pipes and tools. Names are those of the
// revision without the leading slash. Kept are types, modes, owners, times to the nanosecond,
// extended attributes (SCHILY.xattr, which GNU tar and bsdtar read), hard links of what is in the
// archive; holes are not. The header is a pure function.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "daemon/repository/repository.h"
#include "daemon/restore/restore_source.h"
#include "daemon/runtime/progress.h"

namespace backup {

// The blocks in front of an entry's content. `links_to`: the path of the same file, if it was there
// already; then there is no content.
std::string tar_header(const Node& node, std::string_view path, std::string_view links_to = {});
// What fills the last block of so much content.
std::string tar_padding(std::uint64_t size);

// Blocking. What cannot be read, or not by the source's rule, is left out and goes to `exceptions`;
// a file above 16 MiB that proves damaged when some of it is written already ends the archive
// (`corrupt`), which then has no end mark.
using WriteBytes = std::function<Result<>(std::string_view)>;
Result<> export_tree(Repository& repository, const RestoreSource& source, const WriteBytes& write,
                     Progress& progress, ExceptionLog& exceptions, std::stop_token stop);

}  // namespace backup
