// Watcher tells what changed on one volume. Events are hints to look, never facts about what
// happened: the kernel merges records and drops their order, so whoever is told looks himself.
//
// A watcher owns its descriptors and one reader thread that does nothing but read, decode and
// coalesce in memory, so that the kernel's queue never overflows because of us. Everything else
// comes and takes what was collected. Thread-safe.
//
// The promise that all else rests on: a system call that changed something below an armed root
// before barrier() was called shows in that barrier's batch or in one taken earlier, or `lost` is
// set in one of them. What raises no event at all (libaio, stores through a mapping, loop
// devices) is the business of the writer census (census.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/path.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/watch/handle.h"

namespace backup {

// What was seen since the last batch was taken. Names and objects are coalesced: one entry each,
// in no order. Directory moves keep their order.
struct WatchBatch {
    // Something about this name of this directory: it came, went, or what it names changed.
    struct Name {
        ObjectHandle directory;
        std::string name;      // one component, bytes; never empty, "." or ".."
        bool content = false;  // data may have changed, else names and metadata only
        // Somebody who had it open for writing closed it, and nothing followed.
        bool closed = false;
        // What the name led to when its data or metadata changed, where the kernel tells: the same
        // file may have other names. Empty: a directory, or not told.
        ObjectHandle object;
    };
    // A directory came to be or got another name; in the order of the kernel's records.
    struct DirectoryMove {
        enum class Kind : std::uint8_t {
            born,     // made by mkdir
            moved,    // from (from_directory, from_name) to (to_directory, to_name)
            arrived,  // from a place that is not watched, or that is not known: what lies below it
                      // must be looked at
        };
        Kind kind{};
        ObjectHandle object;  // the directory itself; empty: the kernel does not say
        ObjectHandle from_directory, to_directory;
        std::string from_name, to_name;
    };
    std::vector<Name> names;
    std::vector<DirectoryMove> moves;
    std::vector<ObjectHandle> directories;  // own metadata changed
    std::vector<ObjectHandle> objects;  // files of which no name is known (another hard link, the
                                        // victim of a rename, a write by handle)
    std::vector<ObjectHandle> relist;   // list this directory again: single names were too many, or
                                        // it could not be watched from its beginning
    // Not empty: records were lost, for this reason. Everything on the volume must be looked at
    // again. The watcher goes on with what comes after; after `gone` it does not.
    std::string lost;
    bool gone = false;  // unmounted, or the watch cannot work any more
    std::uint64_t records = 0;

    bool empty() const {
        return names.empty() && moves.empty() && directories.empty() && objects.empty() &&
               relist.empty() && lost.empty() && !gone;
    }
};

enum class WatchKind : std::uint8_t { fanotify, inotify, scan };
const char* to_string(WatchKind kind);

// A moment's view, for status.
struct WatchStatus {
    WatchKind kind{};
    std::uint64_t records = 0, overflows = 0;
    std::uint64_t queue_bytes = 0;            // in the kernel, at the last look
    std::uint64_t watched_directories = 0;    // inotify
    std::uint64_t unwatched_directories = 0;  // inotify: the limit was reached
    std::string problem;                      // with its remedy; empty: none
};

class Watcher {
  public:
    virtual ~Watcher() = default;

    // What was collected up to now. Does not wait.
    virtual WatchBatch take() = 0;
    // Waits until the reader has read the kernel's queue empty once after the call, then as take().
    // An error (the reader died, or 10 s have passed) counts as lost.
    virtual Result<WatchBatch> barrier() = 0;

    // Where a directory is now, as an absolute path below one of the roots the volume was armed
    // with. Nothing: it is gone, or outside of every root. A few microseconds; holds no descriptor
    // afterwards. The answer is old as soon as it is given: whoever opens it compares
    // handle_of(fd, "") with what he asked for, and asks again if something was renamed meanwhile.
    virtual std::optional<std::string> path_of(const ObjectHandle& directory) = 0;
    // The same for any object that can be opened by handle: device, inode and link count. Nothing:
    // gone (the usual case: it was deleted), or this kind of watcher cannot tell. inotify tells of
    // directories that it watches, without their inodes.
    struct ObjectFacts {
        std::uint64_t device = 0, inode = 0, links = 0;
        bool is_directory = false;
    };
    virtual std::optional<ObjectFacts> facts_of(const ObjectHandle& object) = 0;
    // A directory wherever it is, for looking at names in it (O_PATH); to be closed soon. Not open:
    // as for facts_of().
    virtual UniqueFd open_directory(const ObjectHandle& directory) {
        static_cast<void>(directory);
        return {};
    }

    // inotify: directories that no watch could be had for, and that must be looked at by listing.
    // Blocking: looks for new directories in them.
    virtual std::vector<std::string> unwatched() = 0;
    // Tries again for those, after the limit was raised.
    virtual void retry_unwatched() = 0;

    virtual WatchStatus status() const = 0;

    // fanotify: a copy of the group's descriptor, for the service manager to keep over a restart
    // of ours (`inherited_group` below). Another one after every `lost`: ask again then. Not open:
    // this kind of watcher has none.
    virtual UniqueFd group() const { return {}; }

    // Reads no more, for good: what is queued from now on is left to whoever inherits the group.
    virtual void stop() {}

    // Tests: the reader stops reading until resumed.
    virtual void stall(bool stalled) = 0;
};

struct WatchOptions {
    // Called by the reader thread when something was collected and nobody has taken it yet. Must
    // not block.
    std::function<void()> nudge;
    // inotify: true for the directory `name` in `directory` if it needs no watch (excluded ones).
    // Any thread.
    std::function<bool(const std::string& directory, const std::string& name)> skip;
    // inotify: at most that many watches; 0: what the system allows, less 5 %.
    std::uint64_t most_watches = 0;
    // More names of one directory than this become one relist of it.
    std::size_t most_names = 1000;
    // A kernel queue longer than this is given up and counts as lost.
    std::uint64_t most_queue_bytes = std::uint64_t{200} << 20;
    // Our own writes raise no events of interest. 0: everybody's are taken.
    std::int32_t own_pid = 0;
};

// Arms a watch for the file system that all `roots` lie on, everything below them included that is
// on the same file system. Nothing of the tree is to be trusted that was read before this returned.
// `denied`: not permitted here; `invalid`: this kind cannot watch this file system; both say so in
// words for status.
Result<std::unique_ptr<Watcher>> watch_with_fanotify(const std::vector<Path>& roots,
                                                     WatchOptions options,
                                                     UniqueFd inherited_group = {});
Result<std::unique_ptr<Watcher>> watch_with_inotify(const std::vector<Path>& roots,
                                                    WatchOptions options);

// The handle of an object, looked at without opening it. `follow`: false for a link itself.
Result<ObjectHandle> handle_of(int directory, const char* name, bool follow = false);

}  // namespace backup
