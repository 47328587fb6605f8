// LocalBackend keeps a repository in a directory, in restic's default layout. Thread-safe; every
// call blocks.
//
// A file is written under a temporary name in its final directory, synced, renamed without ever
// replacing anything, and the directory is synced: it exists whole or not at all. A failed fsync is
// final for that file (Linux marks the pages clean; a second fsync would lie). Directories that are
// missing are made on demand, but only in a repository that is there: on an empty mount point a put
// fails rather than filling the disk below it.
//
// Nothing that exists is changed or deleted but locks, through remove() other files, and our own
// temporary files that a crash left behind a day ago or more.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <string_view>

#include "common/path.h"
#include "common/unique_fd.h"
#include "daemon/backend/backend.h"
#include "daemon/backend/stride.h"

namespace backup {

class LocalBackend final : public Backend, public DeletingBackend {
  public:
    // Touches nothing yet.
    explicit LocalBackend(Path root);

    BackendProperties properties() const override;
    Result<> put(const Handle& handle, ByteView content) override;
    Result<> put_paced(const Handle& handle, ByteView content, Pace& pace) override;
    Result<Bytes> get(const Handle& handle, ByteRange range = {}) override;
    Result<MutableByteView> read(const Handle& handle, ByteRange range, Bytes& buffer) override;
    Result<FileInfo> stat(const Handle& handle) override;
    Result<> list(FileType type, const std::function<void(const FileInfo&)>& each) override;
    Result<> remove_lock(const LockId& id) override;
    std::optional<SpaceInfo> space() override;
    Result<> create() override;
    Result<> remove(const Handle& handle) override;

    const Path& root() const { return root_; }

  private:
    struct Place {
        std::string directory;  // absolute
        std::string file;       // absolute
    };
    Place place_of(const Handle& handle) const;
    // With a lead the content may begin further on in `buffer`.
    Result<MutableByteView> read_range(const Handle& handle, ByteRange range, Bytes& buffer,
                                       bool may_have_lead);

    // Whether a file that exists is what is to be put; nothing if none exists.
    Result<bool> is_stored(const Handle& handle, const Place& place, ByteView content);
    Result<UniqueFd> create_temporary(const Handle& handle, const Place& place,
                                      const std::string& name);
    Result<> write_temporary(const Handle& handle, UniqueFd file, ByteView content, Pace* pace);
    Result<> store(const Handle& handle, ByteView content, Pace* pace);
    // `conflict` if the final name exists.
    Result<> publish(const Handle& handle, const std::string& from, const std::string& to);
    Result<> expect_no_other_files() const;
    Result<> make_directory_for(const Handle& handle, const Place& place);
    Result<> make_directory(const std::string& path, bool* made = nullptr);
    Result<> list_directory(const std::string& directory, std::string_view prefix,
                            const std::function<void(const FileInfo&)>& each);
    // The repository was there before and is gone: an unmounted disk, not an empty list.
    Result<> check_not_vanished();
    void remove_leftovers();

    bool is_group_readable();

    const Path root_;
    Stride stride_;
    std::once_flag leftovers_removed_;
    std::atomic<bool> has_seen_config_{false};
    std::atomic<int> group_readable_{-1};  // -1: not known yet
};

}  // namespace backup
