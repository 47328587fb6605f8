// DirectoryWatches keeps an inotify watch on every directory below some roots, and knows where each
// of them is. It looks at the file system; what the kernel's records mean is decided by its owner,
// InotifyWatcher. Thread-safe: one lock over the tree, not held while the file system is asked.
//
// Always in this order: open the directory, watch what was opened, list it. So a name that the
// listing does not show raises an event. What a look finds may be newer than the records that were
// processed up to then; see Directory::doubtful_until.
//
// A directory that no watch can be had for (the limit, no permission) stays in the tree without
// one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/path.h"
#include "common/result.h"
#include "common/unique_fd.h"
#include "daemon/watch/watch_tree.h"

namespace backup {

class DirectoryWatches {
  public:
    using Node = WatchTree::Node;
    using Skip = std::function<bool(const std::string& directory, const std::string& name)>;

    // `readings`: how often reading the queue was begun.
    DirectoryWatches(std::vector<Path> roots, Skip skip, std::uint64_t most_watches,
                     const std::atomic<std::uint64_t>& readings);

    // One instance, and a watch on everything. Two threads. `denied`, `invalid` or whatever the
    // roots answered.
    Result<> start();
    // The same again, when records were lost: what is found stays or is added, all else goes.
    // An error: a root is not what it was.
    Result<> start_over();
    int descriptor() const { return inotify_.get(); }

    struct Arrival {
        ObjectHandle object, directory;
        std::string name;
    };
    struct Look {
        enum class Found : std::uint8_t { nothing, known, fresh, unreachable } found{};
        Node node = WatchTree::kNone;
        ObjectHandle object;
        // Fresh directories, this one or below it, with something in them that raised no event.
        std::vector<ObjectHandle> relist;
        // Known directories that turned up in fresh ones.
        std::vector<Arrival> arrivals;
        // The directory itself is not where the tree says: records that say so are to come.
        bool is_too_early = false;
        bool has_moved = false;  // known, and was elsewhere
    };
    // What is at this name now? A directory is watched with everything below it, or, if it is
    // known, put in this place.
    Look look(Node directory, std::string_view name);
    // Walks over everything, and reports what is new or was elsewhere as a look does. What is
    // adrift afterwards is not below the roots, or records of it are to come; it is removed.
    Look look_at_all();
    // Looks again at the directories without a watch, for new ones in them, and for whether they
    // can be watched now.
    Look look_at_unwatched();
    // Descriptors kept for the next look.
    void close_cached();

    // For the owner's decisions. `visit(tree)` runs under the lock.
    template <typename Visit>
    auto with_tree(Visit&& visit) {
        const std::lock_guard lock(mutex_);
        return visit(tree_);
    }
    // Takes the watches off a directory and everything below it.
    void remove(Node node);

    std::optional<std::string> path_of(const ObjectHandle& handle) const;
    std::vector<std::string> unwatched_paths() const;
    std::uint64_t watched() const;
    std::uint64_t unwatched() const;
    std::string problem() const;

  private:
    struct Task {
        std::shared_ptr<const UniqueFd> directory;  // nullptr: `name` is the path of a root
        Node parent = WatchTree::kNone;
        std::string name;
    };
    // A walk: everything, or only what is not known.
    struct Walk {
        bool is_full = false;  // list what is known, too
        bool is_reported = true;
        bool is_top = true;          // the next directory is the one that was asked for
        bool is_top_listed = false;  // though it is known
        std::uint32_t number = 0;
        std::mutex* lock = nullptr;
        std::vector<Task> tasks;
        Look look;
    };
    struct Placed {
        Node node = WatchTree::kNone;
        bool is_fresh = false, is_list_needed = false, has_moved = false;
        bool is_watched_now = false;  // known, and had no watch before
    };

    Result<> walk_all(bool is_again);
    void work(Walk& walk);
    Look::Found visit(Task& task, Walk& walk, Node* node);
    Look::Found keep_unwatched(const Task& task, Walk& walk, bool is_top, Node* node);
    Placed place(const Task& task, Walk& walk, bool is_top, int watch, ObjectHandle handle,
                 bool is_reserved = false);
    bool list(const std::shared_ptr<const UniqueFd>& directory, Node node, Walk& walk);
    bool is_same_volume(int fd) const;
    int add_watch(int fd);
    bool reserve_watch();
    std::shared_ptr<const UniqueFd> open_node(Node node, const std::string& path,
                                              const ObjectHandle& handle);

    const std::vector<Path> roots_;
    const Skip skip_;
    const std::uint64_t most_watches_;
    const std::atomic<std::uint64_t>& readings_;
    UniqueFd inotify_;
    std::uint64_t device_ = 0, mount_ = 0;

    mutable std::mutex mutex_;
    WatchTree tree_;
    std::uint32_t walk_number_ = 0;
    std::uint64_t reserved_ = 0;  // watches that are being had
    // While everything is walked, one in twenty of what the system allows is left for directories
    // to come, ours and other programs'. 0: no limit.
    std::uint64_t most_now_ = 0;

    std::atomic<bool> is_limit_reached_ = false;
    std::atomic<std::uint64_t> unreadable_ = 0;
    // The last directory that was looked into: records come in runs. The owner's thread only.
    Node cached_ = WatchTree::kNone;
    std::shared_ptr<const UniqueFd> cached_fd_;
};

}  // namespace backup
