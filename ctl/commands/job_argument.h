// The number of a job on the command line.
#pragma once

#include <cstdint>
#include <string>

#include "common/result.h"

namespace backup {

Result<std::uint64_t> parse_job_id(const std::string& text);

}  // namespace backup
