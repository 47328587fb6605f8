// Restores on the system bus: run_restore in a process of its own that has the rights of the caller
// and no others, or root's, while this one keeps the repository, the plan of what may be seen, and
// all that is written down of the restore. Blocking, like run_restore.
#pragma once

#include <chrono>
#include <cstdint>
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

enum class Rights : std::uint8_t {
    caller,  // somebody's other than root
    root,    // those of the daemon's user, without what holds the daemon back
};

// As run_restore, but of what the caller may see, and with his rights or root's. Where the request
// has a `target_path` the process finds the target by it, with those rights and in its own view of
// the file systems: give one whenever `target_fd` is not the caller's but was opened here. Errors
// and exceptions are those of run_restore, and `io` when the process dies.
Result<RestoreResult> run_restore_as(const Caller& caller, Rights rights,
                                     const std::string& program, const RestoreRequest& request,
                                     Repository& repository, Progress& progress,
                                     ExceptionLog& exceptions, std::stop_token stop,
                                     std::chrono::milliseconds silence = kSilence);

// The inode of a file without a name that the process has made in a directory, with root's rights,
// and closed: to try a watch where this process may not write. See daemon/runtime/nameless.h.
Result<std::uint64_t> touch_as_root(const std::string& program, const std::string& directory);

}  // namespace backup::writer
