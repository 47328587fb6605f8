// Sizes as people write them. Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/result.h"

namespace backup {

// "4096", "500k", "1.5GiB", "2 GB": binary units are powers of 1024, and so are bare letters; "kB",
// "MB", "GB" powers of 1000. ErrorKind::invalid otherwise.
Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace backup
