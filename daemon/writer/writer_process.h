// Restores for people other than root: run_restore in a process of its own that has the rights of
// the caller and no others, while this one keeps the repository, the plan of what may be seen, and
// all that is written down of the restore. Blocking, like run_restore.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>

#include "daemon/access/caller.h"
#include "daemon/restore/restore.h"

namespace backup::writer {

// The program beside ours.
std::string writer_program();

// A writer tells how far it is four times a second, whatever it waits for. One that says nothing
// for so long was stopped, which its owner can do, and is ended.
constexpr std::chrono::milliseconds kSilence = std::chrono::minutes(1);

// As run_restore, but of what rule R shows to the caller and with his rights; never for root. Not
// for undoing: the request has no `remove`, `alters`, `unchanged_since` and the like. Errors and
// exceptions are those of run_restore, and `io` when the process dies.
Result<RestoreResult> run_restore_as(const Caller& caller, const std::string& program,
                                     const RestoreRequest& request, Repository& repository,
                                     Progress& progress, ExceptionLog& exceptions,
                                     std::stop_token stop,
                                     std::chrono::milliseconds silence = kSilence);

}  // namespace backup::writer
