// TrackedSource is a RecordedSource, a queue and a repository in memory, put together as the
// tracker does: a run looks at what the queue says, and clears it when its revision is there. For
// tests only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "daemon/archive/backup.h"
#include "daemon/backend/memory_backend.h"
#include "daemon/queue/change_queue.h"
#include "daemon/runtime/fs.h"
#include "daemon/tracking/look_at_changes.h"
#include "tests/unit/tracking/recorded_source.h"

namespace backup {

// The real file system with a word before each call that may find something else than before.
class InterruptedFs final : public RealFs {
  public:
    std::function<void()> before;

    int open(int directory, const char* name, int flags) override {
        if (before) before();
        return RealFs::open(directory, name, flags);
    }
    int status(int directory, const char* name, int flags, struct statx& out) override {
        if (before) before();
        return RealFs::status(directory, name, flags, out);
    }
    ssize_t list(int directory, MutableByteView buffer) override {
        if (before) before();
        return RealFs::list(directory, buffer);
    }
    ssize_t read(int fd, MutableByteView buffer) override {
        if (before) before();
        return RealFs::read(fd, buffer);
    }
};

class TrackedSource {
  public:
    static constexpr const char* kVolume = "volume";

    TrackedSource();

    // Takes what was recorded, as the tracker does.
    void absorb();
    // A run. `between`: called after each of its steps. Nothing: it failed, and no mark was
    // cleared.
    std::optional<BackupResult> run(const std::function<void()>& between = {});
    // The same against the revision before, by looking at everything.
    std::optional<BackupResult> scan();
    // Writes what changed in the queue and reads all of it back.
    void restart_queue();

    std::string describe(const BackupResult& result);  // every node below the set, a line each
    BlobId tree_of_set(const BackupResult& result);

    RecordedSource source;
    ChangeQueue queue;
    BackupSet set;
    InterruptedFs fs;
    std::unique_ptr<LookAtChanges> look;  // of the last run
    std::optional<RevisionEntry> parent;
    std::uint64_t inodes_asked = 0;
    BackupResult last;

  private:
    std::optional<BackupResult> backup(const LookAt* look_at, bool from_nothing,
                                       std::vector<std::string>* unsettled);
    std::optional<Node> node_of_set(const BackupResult& result);
    void describe(const BlobId& tree, const std::string& path, std::string& out);

    SystemClock clock_;
    MemoryBackend backend_;
    std::unique_ptr<Repository> repository_;
    std::map<std::string, std::string> stored_;
    std::uint64_t number_ = 1;
};

}  // namespace backup
