// Reading and writing the files that are one sealed JSON document: index, snapshot, lock.
// Stateless; any thread; blocking.
#pragma once

#include <vector>

#include "common/result.h"
#include "daemon/backend/backend.h"
#include "daemon/repository/crypto.h"

namespace backup {

// Verified: name (a mismatch is read once more, for storage that lies only sometimes), MAC,
// decompressed size limit.
Result<Bytes> read_unpacked(Backend& backend, const MasterKey& key, unsigned version, FileType type,
                            const FileId& id);

// Files that a listing did not show any more: are they gone? A storage that lists too little, or
// nothing (an unmounted disk), must not pass for one that was emptied. `io` if one of the first few
// of them is still there.
template <typename IdType>
Result<> confirm_vanished(Backend& backend, FileType type, const std::vector<IdType>& missing) {
    constexpr std::size_t kMostLooks = 16;
    for (std::size_t i = 0; i < missing.size() && i < kMostLooks; ++i) {
        const Handle handle{type, id_cast<FileId>(missing[i])};
        Result<FileInfo> info = backend.stat(handle);
        if (info.ok())
            return Error(ErrorKind::io, ErrorCode::repository_unavailable,
                         "the storage did not list " + handle.text() + ", which is there");
        if (info.error().kind() != ErrorKind::not_found) return std::move(info).error();
    }
    return {};
}

// A file ready to be stored: compressed, sealed, opened again and compared, named.
struct UnpackedFile {
    FileId id;
    Bytes sealed;
};
Result<UnpackedFile> make_unpacked(const MasterKey& key, unsigned version, ByteView json);

}  // namespace backup
