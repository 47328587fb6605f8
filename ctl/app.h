// run_backupctl: the whole program but main(). Returns the exit code.
#pragma once

#include <string>
#include <vector>

namespace backup {

int run_backupctl(const std::vector<std::string>& arguments);

}  // namespace backup
