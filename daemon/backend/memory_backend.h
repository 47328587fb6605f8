// MemoryBackend keeps a repository in a map: for tests and dry runs. Thread-safe. Behaves as a
// local disk whose every put is durable; what makes it fail is put around it
// (tests/support/flaky_backend.h).
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "daemon/backend/backend.h"

namespace backup {

class MemoryBackend final : public Backend, public DeletingBackend {
  public:
    explicit MemoryBackend(BackendProperties properties = {4, true, "memory:"});

    BackendProperties properties() const override;
    Result<> put(const Handle& handle, ByteView content) override;
    Result<Bytes> get(const Handle& handle, ByteRange range = {}) override;
    Result<FileInfo> stat(const Handle& handle) override;
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override;
    Result<> remove_lock(const LockId& id) override;
    Result<> create() override;
    Result<> remove(const Handle& handle) override;

    // Everything that changes something is `denied`.
    void set_read_only(bool read_only);
    // Puts beyond this many bytes in all are `no_space`.
    void set_capacity(std::uint64_t bytes);

    // For tests. A copy holds the files as they are now; cheap, contents are shared.
    using Key = std::pair<FileType, FileId>;
    using Files = std::map<Key, std::shared_ptr<const Bytes>>;
    Files files() const;
    void set_files(Files files);
    // Replaces the content of a file whatever its name says.
    void overwrite(const Handle& handle, Bytes content);

  private:
    static Key key_of(const Handle& handle);

    const BackendProperties properties_;
    mutable std::mutex mutex_;  // guards everything below
    Files files_;
    std::uint64_t used_ = 0;
    std::uint64_t capacity_ = UINT64_MAX;
    bool read_only_ = false;
};

}  // namespace backup
