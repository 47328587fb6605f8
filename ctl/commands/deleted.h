// What was deleted from a folder, for ls. Main thread.
#pragma once

#include <string>

#include "ctl/context.h"
#include "ctl/exit_code.h"

namespace backup {

// With the options of ls: --recursive, --at, --set, --host, --long.
Result<ExitCode> list_deleted(Context& context, const std::string& path);

}  // namespace backup
