// What is told of a failure: where a repository is, and how it is reached, is the business of
// administrators. Pure; any thread.
#pragma once

#include <string>

#include "common/error.h"
#include "daemon/access/caller.h"

namespace backup {

// The error itself, or for somebody bound by rule R one of the same kind and code that does not
// speak of the storage.
Error told_to(const Caller& caller, const Error& error);
// The same; what is not told goes to the daemon's log.
Error told_and_logged(const Caller& caller, const Error& error, const std::string& what);

}  // namespace backup
