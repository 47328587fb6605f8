// DirectoryTable knows the directories of one restore and opens them, each component by itself
// below the descriptor of the target and never through a symbolic link. It holds a name and a
// parent for every directory of the run (some 60 bytes each) and keeps the descriptors used last,
// so neither a deep nor a wide tree runs out of them. Thread-safe. The target's descriptor is
// borrowed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include <sys/types.h>
#include <time.h>

#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/restore/restore_plan.h"

namespace backup {

enum class DirectoryState : std::uint8_t {
    pending,   // not entered yet
    existed,   // was there before
    resumed,   // was there before, left unfinished by an earlier restore: its metadata are still to
               // be set
    created,   // made by this run, nothing else in it
    imagined,  // dry run: would be made
    skipped,   // a conflict: nothing below is touched
    failed,    // could not be made: everything below fails with it
};

// An O_PATH descriptor: good for every *at() call, not for reading or syncing the directory itself.
using SharedFd = std::shared_ptr<const UniqueFd>;

class DirectoryTable {
  public:
    explicit DirectoryTable(int target_fd, dev_t target_device = 0, timespec target_mtime = {})
        : target_fd_(target_fd), target_device_(target_device), target_mtime_(target_mtime) {}

    // The target itself. `source_path` is the directory within the revision whose entries land in
    // it.
    DirectoryIndex add_target(std::string source_path);
    DirectoryIndex add(DirectoryIndex parent, std::string_view name);

    // Must be entered (existed, resumed, created).
    Result<SharedFd> open(DirectoryIndex directory);
    DirectoryState state(DirectoryIndex directory) const;
    // `landing_name` is what it is called in the target when that is not its name in the revision.
    void set_state(DirectoryIndex directory, DirectoryState state, std::string landing_name = {});
    std::string name(DirectoryIndex directory) const;  // in the target
    DirectoryIndex parent(DirectoryIndex directory) const;

    // The device a directory is on; asked of the parent for directories we made.
    void set_device(DirectoryIndex directory, dev_t device);
    dev_t device(DirectoryIndex directory) const;

    // A directory made in a batch is not to be seen before the batch is complete: it, or a
    // directory above it, has a temporary name. `batch` counts from 1.
    void set_hidden(DirectoryIndex directory, std::uint32_t batch);
    bool is_hidden(DirectoryIndex directory, std::uint32_t batch) const;
    // What a run that was cut off had begun to fill, and this one goes on with.
    void set_adopted(DirectoryIndex directory);
    bool is_adopted(DirectoryIndex directory) const;
    // Gives it its name by `rename` (0 or -1 with errno), which is called with nobody in between.
    int rename(DirectoryIndex directory, const std::string& to,
               const std::function<int(const char* from, const char* to)>& rename);

    // True for the first caller only: whose business it is to clear the directory of leftovers.
    bool claim_cleaning(DirectoryIndex directory);

    // True for the first caller only: nothing can be made in it, and this is reported once.
    bool claim_unwritable(DirectoryIndex directory);
    bool is_unwritable(DirectoryIndex directory) const;

    // Absolute path within the revision, for messages.
    std::string source_path(DirectoryIndex directory) const;
    std::string source_path(DirectoryIndex directory, std::string_view name) const;
    // Path below the target as it is called there, with a leading "/"; of the target itself "/".
    std::string target_path(DirectoryIndex directory) const;
    std::string target_path(DirectoryIndex directory, std::string_view name) const;

    // The mtime of a directory that was there before, as it was found. Told to the change log
    // before the first change in it, once.
    void set_found_mtime(DirectoryIndex directory, const timespec& mtime);
    timespec found_mtime(DirectoryIndex directory) const;
    std::optional<timespec> claim_found_mtime(DirectoryIndex directory);

  private:
    struct Record {
        DirectoryIndex parent;
        DirectoryState state = DirectoryState::pending;
        bool is_target = false;
        bool is_cleaned = false;
        bool is_unwritable = false;
        bool is_adopted = false;
        bool is_mtime_told = false;
        timespec found_mtime{};
        std::uint32_t hidden_in = 0;
        dev_t device = 0;
        std::string name;  // of a target: the source path
        std::unique_ptr<std::string> landing_name;
    };
    using Recent = std::list<std::pair<DirectoryIndex, SharedFd>>;

    const std::string& landing_name(const Record& record) const;
    Result<SharedFd> open_once(DirectoryIndex directory);
    SharedFd cached(DirectoryIndex directory);
    void keep(DirectoryIndex directory, SharedFd fd);

    const int target_fd_;
    const dev_t target_device_;
    const timespec target_mtime_;
    mutable std::mutex mutex_;  // guards all below
    std::deque<Record> records_;
    std::uint64_t renames_ = 0;
    Recent recent_;  // used last first
    std::unordered_map<DirectoryIndex, Recent::iterator> by_directory_;
};

}  // namespace backup
