// Writes a file past the page cache where the file system allows it: packs are written once and not
// read soon, and direct writes cost a tenth of the CPU. Any thread.
#pragma once

#include "common/bytes.h"
#include "daemon/backend/stride.h"

namespace backup {

struct Paced {
    Pace& pace;
    Stride& stride;
};

// Writes `content` from offset 0. `prefer_direct` tries O_DIRECT for the aligned part of large
// content and quietly goes on without it. 0, or the errno of what failed; ECANCELED when `paced`
// (may be nullptr) lets no more through. The caller syncs.
int write_direct(int fd, ByteView content, bool prefer_direct, const Paced* paced = nullptr);

}  // namespace backup
