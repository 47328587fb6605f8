// Reading and writing the files that are one sealed JSON document: index, snapshot, lock.
// Stateless; any thread; blocking.
#pragma once

#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"

namespace backup {

// Verified: name (a mismatch is read once more, for storage that lies only sometimes), MAC,
// decompressed size limit.
Result<Bytes> read_unpacked(Backend& backend, const MasterKey& key, unsigned version, FileType type,
                            const FileId& id);

// A file ready to be stored: compressed, sealed, opened again and compared, named.
struct UnpackedFile {
    FileId id;
    Bytes sealed;
};
Result<UnpackedFile> make_unpacked(const MasterKey& key, unsigned version, ByteView json);

}  // namespace backup
