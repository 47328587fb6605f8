// What the rules of a set ask of a live object. Blocking; for I/O threads.
#pragma once

#include <string>

#include "daemon/policy/exclusion.h"
#include "daemon/runtime/fs.h"

namespace backup {

// `cachedir_tag`: looks for the tag in a directory, too. What cannot be looked at does not exist.
ObjectFacts live_facts(Fs& fs, const std::string& path, bool cachedir_tag);

}  // namespace backup
