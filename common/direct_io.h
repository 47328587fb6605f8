// What reading and writing past the page cache (O_DIRECT) need: alignment, and a file system of
// which it is known what it does then.
#pragma once

#include <cstddef>

#include "common/bytes.h"

namespace backup {

// Of memory, offset and length: enough for every device.
inline constexpr std::size_t kDirectAlignment = 4096;
// From here on a direct write beats a buffered one.
inline constexpr std::size_t kLeastDirect = std::size_t{256} << 10;

// ext2-4 or XFS, where this was measured. Elsewhere it may be refused late, be done in the page
// cache all the same, or leave out what the file system does there (compression in btrfs).
bool takes_direct(int fd);

// Devices read only from aligned memory: what lies elsewhere is copied here, piece by piece. 1 MiB
// of the calling thread, there until it ends. Empty when there is no memory.
MutableByteView bounce_buffer();

}  // namespace backup
