// The fence that the service manager puts around the system's daemon: outside of its own folders
// everything is read-only to it (ProtectSystem= in systemd/backupd.service), whatever the file
// system itself allows. Any thread.
#pragma once

#include <string>

#include "common/error.h"

namespace backup {

// What root is to do so that we may write to `folder`, as commands; empty where no fence is what
// keeps us from it: not run by the machine's service manager, or the file system is read-only.
std::string how_to_open_fence(const std::string& folder);

// An error that came of writing to `folder` with those commands, where they are what helps.
Error explain_fence(Error error, const std::string& folder);

// The same commands as text. Pure.
std::string commands_to_open_fence(const std::string& folder);

}  // namespace backup
