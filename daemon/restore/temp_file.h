// TempFile is one file on its way: made under a temporary name beside its target, written at any
// offset, whole runs of zeros left as holes. Used by one thread at a time, but for write_at().
#pragma once

#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/result.h"
#include "common/unique_fd.h"

namespace backup {

// Makes it; fails when the name is taken.
Result<UniqueFd> create_temp(int directory_fd, const std::string& name);
// Opens it once more. Never through a symbolic link.
Result<UniqueFd> reopen_temp(int directory_fd, const std::string& name, int flags);

// The same file once more, for writing past the page cache: restored content is written once and
// not read soon, and copying it into the cache and out again costs more than anything else done to
// it. Empty where this does not work or was not measured (any file system but ext2-4 and XFS).
UniqueFd open_direct(int fd);
// Whether it is worth that, for a piece of that length.
bool wants_direct(std::size_t length);

// Nothing but zeros; so is nothing at all.
bool is_zero(ByteView content);

// Writes all of `content` at `offset`, but for zero blocks of 4 KiB (aligned in the file): in a new
// file they are holes that read as zeros. Returns true when the last byte was written, so that the
// file reaches that far. Long runs go through `direct_fd` (of open_direct(), -1: none), all but
// their unaligned ends.
Result<bool> write_sparse(int fd, int direct_fd, std::uint64_t offset, ByteView content);

}  // namespace backup
