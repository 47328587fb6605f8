// Backend keeps files under names and knows nothing of what is in them. Calls block and may come
// from several threads at once. A Backend cannot delete anything but locks: deleting is a
// capability that only DeletingBackend has, which the collector (and key removal) alone are given.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/bytes.h"
#include "common/id.h"
#include "common/result.h"
#include "daemon/backend/pace.h"

namespace backup {

enum class FileType : std::uint8_t { config, key, lock, snapshot, index, pack };
const char* to_string(FileType type);

// Which file: the config has no id, all others are named by the SHA-256 of their bytes.
struct Handle {
    FileType type;
    FileId id;  // ignored for config

    bool operator==(const Handle&) const = default;
    std::string text() const;  // "pack 1a2b3c4d", for messages
};

struct FileInfo {
    FileId id;
    std::uint64_t size = 0;
};

struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = UINT64_MAX;  // to the end
};

struct BackendProperties {
    unsigned connections = 2;         // how many transfers at once are useful
    bool consistent_listing = false;  // a put is seen by the next list of anybody, at once
    std::string url;                  // without secrets, for messages and the recovery sheet
};

struct SpaceInfo {
    std::uint64_t total_bytes = 0;
    std::uint64_t free_bytes = 0;
};

class Backend {
  public:
    virtual ~Backend() = default;

    virtual BackendProperties properties() const = 0;

    // Stores a whole file; durable on return (file and its directory entry; of a lock, which is of
    // use only while its holder runs, the entry is merely visible to all). Never overwrites: an
    // existing file of the same size is success (names are content), of another size `conflict`.
    virtual Result<> put(const Handle& handle, ByteView content) = 0;
    // The same in pieces, as the pace allows; `cancelled` when it lets nothing through any more.
    virtual Result<> put_paced(const Handle& handle, ByteView content, Pace& pace);
    // The whole file or a range of it. `not_found` if it is missing, `corrupt` if it is shorter
    // than asked for.
    virtual Result<Bytes> get(const Handle& handle, ByteRange range = {}) = 0;
    // The same by way of a buffer that the caller uses again and again: fresh memory costs as much
    // as the reading. A view into it, the caller's to change, good until it is used again.
    virtual Result<MutableByteView> read(const Handle& handle, ByteRange range, Bytes& buffer);
    virtual Result<FileInfo> stat(const Handle& handle) = 0;
    // Every file of the type, in no order. Names that are not 64 lower case hex digits are skipped.
    // A listing that was cut short is an error, never a short list. A missing directory lists as
    // empty.
    virtual Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) = 0;
    // A missing lock is success. For locks only: everything else needs a DeletingBackend.
    virtual Result<> remove_lock(const LockId& id) = 0;
    // Nothing when the storage cannot tell.
    virtual std::optional<SpaceInfo> space() { return std::nullopt; }
    // Makes the layout for a new repository (directories). Whether there is one already is not its
    // business: the caller checks for a config first. `conflict` when the place holds other files.
    virtual Result<> create() = 0;
};

class DeletingBackend {
  public:
    virtual ~DeletingBackend() = default;
    // A missing file is success.
    virtual Result<> remove(const Handle& handle) = 0;
};

// What opening a URL gives. `deleting` is handed to nobody but the collector,
// key removal, and the rewriting of a revision's tags (which removes the earlier edition).
struct OpenedBackend {
    std::unique_ptr<Backend> backend;
    DeletingBackend* deleting = nullptr;  // lives as long as `backend`
};

// "/absolute/path", "local:/absolute/path" or "file:///absolute/path". Touches nothing.
// `unsupported` with a hint for schemes that are unknown, `invalid` for relative paths.
Result<OpenedBackend> open_backend(const std::string& url);

}  // namespace backup
