#include "daemon/repository/unpacked.h"

#include <algorithm>

#include "daemon/repository/compression.h"

namespace backup {

namespace {

Error damaged(const Handle& handle, const std::string& how) {
    return {ErrorKind::corrupt, ErrorCode::repository_damaged, handle.text() + ": " + how};
}

}  // namespace

Result<Bytes> read_unpacked(Backend& backend, const MasterKey& key, unsigned version, FileType type,
                            const FileId& id) {
    const Handle handle{type, id};
    Bytes sealed = TRY(backend.get(handle));
    if (content_id(sealed) != id) {
        sealed = TRY(backend.get(handle));
        if (content_id(sealed) != id) return damaged(handle, "its content does not match its name");
    }
    Result<MutableByteView> plain = key.unseal_in_place(sealed);
    if (!plain.ok()) return damaged(handle, plain.error().message());
    Result<Bytes> json = decode_unpacked(to_bytes(ByteView(*plain)), version);
    if (!json.ok()) return damaged(handle, json.error().message());
    return json;
}

Result<UnpackedFile> make_unpacked(const MasterKey& key, unsigned version, ByteView json) {
    UnpackedFile file;
    file.sealed = key.seal(encode_unpacked(json, version));
    file.id = content_id(file.sealed);
    // What cannot be read back must not be stored: memory and libraries have failed others here.
    Bytes opened = TRY(key.unseal(file.sealed));
    Bytes decoded = TRY(decode_unpacked(std::move(opened), version));
    if (!std::ranges::equal(decoded, json))
        return Error(ErrorKind::io,
                     "a file just encoded does not decode to the same: faulty memory?");
    return file;
}

}  // namespace backup
