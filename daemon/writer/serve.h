// The writer process: takes an order over a socket, gives up all rights but those of the person it
// writes for, and carries the restore out. Nothing of the order is looked at, but whose it is, and
// no thread runs, before the rights are gone. Ends with the daemon's end of the socket.
#pragma once

#include "common/result.h"
#include "common/unique_fd.h"

namespace backup::writer {

// One restore. An error: it could not even begin; what the restore itself comes to is told over the
// socket.
Result<> serve(UniqueFd control);

}  // namespace backup::writer
