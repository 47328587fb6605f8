// The writer process: takes an order over a socket, gives up all rights but those of the person it
// writes for, and carries the restore out. Nothing of the order is looked at, but whose it is, and
// no thread runs, before the rights are gone. Ends with the daemon's end of the socket: told to
// stop it removes what is unfinished, and leaves it for who goes on when the daemon is just gone.
#pragma once

#include "common/result.h"
#include "common/unique_fd.h"

namespace backup::writer {

// The option of the program.
inline constexpr const char* kKeepRights = "--keep-rights";

// One restore. An error: it could not even begin; what the restore itself comes to is told over the
// socket. `keeps_rights`: one that writes with the rights it has, root's on the system bus; it
// takes orders for nobody else, and another one takes none of that kind.
Result<> serve(UniqueFd control, bool keeps_rights);

}  // namespace backup::writer
