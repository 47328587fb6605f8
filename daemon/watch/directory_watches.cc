#include "daemon/watch/directory_watches.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/runtime/fs.h"
#include "daemon/runtime/worker_pool.h"
#include "daemon/watch/open_path.h"
#include "daemon/watch/watcher.h"

namespace backup {

namespace {

constexpr std::uint32_t kMask = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM |
                                IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF |
                                IN_MOVE_SELF | IN_ONLYDIR;
constexpr const char* kLimitFile = "/proc/sys/fs/inotify/max_user_watches";

std::uint64_t system_limit() {
    std::ifstream file(kLimitFile);
    std::uint64_t limit = 0;
    return file >> limit ? limit : ~std::uint64_t{0};
}

}  // namespace

DirectoryWatches::DirectoryWatches(std::vector<Path> roots, Skip skip, std::uint64_t most_watches,
                                   const std::atomic<std::uint64_t>& readings)
    : roots_(std::move(roots)),
      skip_(std::move(skip)),
      most_watches_(most_watches),
      readings_(readings) {}

Result<> DirectoryWatches::start() {
    inotify_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_) {
        if (errno == EMFILE)
            return Error(ErrorKind::denied,
                         "inotify: no instance is left; raise fs.inotify.max_user_instances");
        return Error::from_errno(errno, "inotify: make an instance");
    }
    struct statx status {};
    if (statx(AT_FDCWD, roots_.front().c_str(), 0, STATX_BASIC_STATS | STATX_MNT_ID, &status) != 0)
        return Error::from_errno(errno, "look at " + printable(roots_.front().text()));
    device_ = makedev(status.stx_dev_major, status.stx_dev_minor);
    mount_ = (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : 0;
    return walk_all(false);
}

Result<> DirectoryWatches::start_over() {
    close_cached();
    TRY(walk_all(true));
    // What the walk did not find is gone, or cannot be reached any more.
    std::vector<Node> missing;
    with_tree([&](WatchTree& tree) {
        tree.each([&](Node node) {
            if (tree.at(node).visited != walk_number_) missing.push_back(node);
        });
    });
    for (const Node node : missing) {
        const bool is_there = with_tree([&](WatchTree& tree) {
            return tree.at(node).is_used && tree.at(node).visited != walk_number_;
        });
        if (is_there) remove(node);
    }
    return {};
}

Result<> DirectoryWatches::walk_all(bool is_again) {
    Walk walk;
    std::mutex lock;
    walk.is_full = true;
    walk.is_reported = walk.is_top = false;
    walk.lock = &lock;
    {
        const std::lock_guard guard(mutex_);
        walk.number = ++walk_number_;
        const std::uint64_t limit = system_limit();
        most_now_ = limit - limit / 20;
    }
    is_limit_reached_ = false;
    unreadable_ = 0;
    for (const Path& root : roots_) {
        Task task{nullptr, WatchTree::kNone, root.text()};
        Node node = WatchTree::kNone;
        const Look::Found found = visit(task, walk, &node);
        if (found == Look::Found::nothing || found == Look::Found::unreachable)
            return Error(ErrorKind::invalid, "inotify: " + printable(root.text()) +
                                                 " cannot be opened or is another file system");
        if (is_again && found == Look::Found::fresh)
            return Error(ErrorKind::invalid,
                         printable(root.text()) + " is not the directory that it was");
        if (is_limit_reached_)
            return Error(ErrorKind::denied,
                         "inotify: no watch is left; raise fs.inotify.max_user_watches");
    }
    // Two are enough, and as fast as it gets; the walk is done when all of them have nothing to do.
    std::atomic<unsigned> busy = 0;
    WorkerPool pool("watch-arm", 2, [&](std::stop_token, unsigned) {
        for (;;) {
            std::optional<Task> task;
            {
                const std::lock_guard guard(lock);
                if (!walk.tasks.empty()) {
                    task = std::move(walk.tasks.back());
                    walk.tasks.pop_back();
                    ++busy;
                } else if (busy == 0) {
                    return;
                }
            }
            if (!task) {
                std::this_thread::sleep_for(std::chrono::microseconds(100));
                continue;
            }
            Node ignored = WatchTree::kNone;
            visit(*task, walk, &ignored);
            --busy;
        }
    });
    pool.join();
    work(walk);  // where the system refuses threads
    const std::lock_guard guard(mutex_);
    most_now_ = 0;
    return {};
}

void DirectoryWatches::work(Walk& walk) {
    while (!walk.tasks.empty()) {
        Task task = std::move(walk.tasks.back());
        walk.tasks.pop_back();
        Node node = WatchTree::kNone;
        visit(task, walk, &node);
    }
}

DirectoryWatches::Look DirectoryWatches::look(Node directory, std::string_view name) {
    Walk walk;
    std::string path;
    ObjectHandle handle;
    {
        const std::lock_guard guard(mutex_);
        walk.number = walk_number_;
        if (auto found = tree_.path(directory)) path = std::move(*found);
        handle = tree_.at(directory).handle;
    }
    if (!path.empty() && skip_ && skip_(path, std::string(name))) return {};
    Task task{path.empty() ? nullptr : open_node(directory, path, handle), directory,
              std::string(name)};
    if (task.directory == nullptr) {
        walk.look.is_too_early = true;
        return std::move(walk.look);
    }
    Node node = WatchTree::kNone;
    const Look::Found found = visit(task, walk, &node);
    work(walk);
    walk.look.found = found;
    walk.look.node = node;
    if (node != WatchTree::kNone)
        walk.look.object = with_tree([&](WatchTree& tree) { return tree.at(node).handle; });
    return std::move(walk.look);
}

DirectoryWatches::Look DirectoryWatches::look_at_all() {
    Walk walk;
    walk.is_full = true;
    walk.is_top = false;
    std::vector<Node> adrift;
    {
        const std::lock_guard guard(mutex_);
        walk.number = ++walk_number_;
        adrift.assign(tree_.adrift().begin(), tree_.adrift().end());
    }
    for (const Path& root : roots_) walk.tasks.push_back({nullptr, WatchTree::kNone, root.text()});
    work(walk);
    for (const Node node : adrift) {
        const bool is_there =
            with_tree([&](WatchTree& tree) { return tree.adrift().contains(node); });
        if (is_there) remove(node);
    }
    walk.look.is_too_early = false;
    return std::move(walk.look);
}

DirectoryWatches::Look DirectoryWatches::look_at_unwatched() {
    is_limit_reached_ = false;
    unreadable_ = 0;
    struct Place {
        Node node, parent;
        ObjectHandle handle;
    };
    std::vector<Place> places;
    Walk walk;
    {
        const std::lock_guard guard(mutex_);
        walk.number = walk_number_;
        tree_.each([&](Node node) {
            const auto& directory = tree_.at(node);
            if (directory.watch == WatchTree::kUnwatched && directory.parent != WatchTree::kNone)
                places.push_back({node, directory.parent, directory.handle});
        });
    }
    for (const Place& place : places) {
        std::string parent_path, name;
        ObjectHandle parent_handle;
        {
            const std::lock_guard guard(mutex_);
            const auto& directory = tree_.at(place.node);
            // Found on the way by a look at another one, or gone.
            if (!directory.is_used || directory.handle != place.handle ||
                directory.watch != WatchTree::kUnwatched || directory.parent != place.parent)
                continue;
            parent_path = tree_.path(place.parent).value_or("");
            parent_handle = tree_.at(place.parent).handle;
            name = directory.name;
        }
        if (parent_path.empty()) continue;
        const auto parent = open_node(place.parent, parent_path, parent_handle);
        if (parent == nullptr) continue;
        Task task{parent, place.parent, name};
        walk.is_top = walk.is_top_listed = true;
        Node node = WatchTree::kNone;
        const Look::Found found = visit(task, walk, &node);
        work(walk);
        const bool is_gone =
            (found == Look::Found::nothing || node != place.node) &&
            with_tree([&](WatchTree& tree) {
                return tree.at(place.node).is_used && tree.at(place.node).handle == place.handle;
            });
        if (is_gone) remove(place.node);
    }
    close_cached();
    return std::move(walk.look);
}

DirectoryWatches::Look::Found DirectoryWatches::visit(Task& task, Walk& walk, Node* node) {
    const bool is_root = task.directory == nullptr;
    // Walks with two threads have no top.
    const bool is_top = walk.is_top;
    if (is_top) walk.is_top = false;
    const int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOATIME | (is_root ? 0 : O_NOFOLLOW);
    const int opened =
        is_root ? open_path(task.name, flags)
                : RealFs::instance().open(task.directory->get(), task.name.c_str(), flags);
    if (opened == -ENOENT || opened == -ENOTDIR || opened == -ELOOP) return Look::Found::nothing;
    if (opened < 0) return keep_unwatched(task, walk, is_top, node);
    auto fd = std::make_shared<const UniqueFd>(opened);
    if (!is_same_volume(fd->get())) return Look::Found::nothing;
    Result<ObjectHandle> handle = handle_of(fd->get(), "");
    if (!handle.ok()) return keep_unwatched(task, walk, is_top, node);
    const bool is_known = with_tree([&](WatchTree& tree) {
        const Node known = tree.by_handle(*handle);
        return known != WatchTree::kNone && tree.at(known).watch != WatchTree::kUnwatched;
    });
    const bool is_reserved = !is_known && reserve_watch();
    const int watch = is_known || is_reserved ? add_watch(fd->get()) : WatchTree::kUnwatched;
    const Placed placed = place(task, walk, is_top, watch, std::move(*handle), is_reserved);
    *node = placed.node;
    if (is_top) walk.look.has_moved = placed.has_moved;
    if (placed.node == WatchTree::kNone) return Look::Found::nothing;
    if (placed.is_list_needed) {
        const bool has_entries = list(fd, placed.node, walk);
        // Nobody told what happened in one that had no watch, not even what went.
        if (walk.is_reported && (placed.is_watched_now || (placed.is_fresh && has_entries)))
            walk.look.relist.push_back(
                with_tree([&](WatchTree& tree) { return tree.at(placed.node).handle; }));
    }
    return placed.is_fresh ? Look::Found::fresh : Look::Found::known;
}

// Its parent tells when it comes and goes; what happens in it must be listed.
DirectoryWatches::Look::Found DirectoryWatches::keep_unwatched(const Task& task, Walk& walk,
                                                               bool is_top, Node* node) {
    if (task.directory == nullptr) return Look::Found::unreachable;
    Result<ObjectHandle> handle = handle_of(task.directory->get(), task.name.c_str());
    if (!handle.ok()) return Look::Found::nothing;
    ++unreadable_;
    *node = place(task, walk, is_top, WatchTree::kUnwatched, std::move(*handle)).node;
    return Look::Found::unreachable;
}

DirectoryWatches::Placed DirectoryWatches::place(const Task& task, Walk& walk, bool is_top,
                                                 int watch, ObjectHandle handle, bool is_reserved) {
    Placed placed;
    std::optional<Arrival> arrival;
    std::vector<int> stale;
    {
        const std::lock_guard guard(mutex_);
        // In one step with its place in the tree: counted twice, it would keep the last watch from
        // another directory.
        if (is_reserved) --reserved_;
        // Who it is: the kernel gives an inode it knows the same watch again.
        Node node = watch == WatchTree::kUnwatched ? WatchTree::kNone : tree_.by_watch(watch);
        if (node == WatchTree::kNone) {
            node = tree_.by_handle(handle);
            // The number of a deleted directory in new hands (handles of the form 'i').
            if (node != WatchTree::kNone && watch != WatchTree::kUnwatched &&
                tree_.at(node).watch != WatchTree::kUnwatched) {
                tree_.remove(node, [&](int dead) { stale.push_back(dead); });
                node = WatchTree::kNone;
            }
        }
        const bool is_root = task.directory == nullptr;
        placed.is_fresh = node == WatchTree::kNone;
        placed.is_list_needed = placed.is_fresh || walk.is_full;
        if (placed.is_fresh) {
            node = is_root ? tree_.add_root(task.name, watch, std::move(handle))
                           : tree_.add(task.parent, task.name, watch, std::move(handle));
            if (walk.is_full && walk.is_reported && !is_root)
                arrival = Arrival{tree_.at(node).handle, tree_.at(task.parent).handle, task.name};
        } else {
            WatchTree::Directory& directory = tree_.at(node);
            // Seen before in this walk: a bind mount, or a root below another one.
            const bool is_alias = walk.is_full && directory.visited == walk.number;
            if (is_alias) placed.is_list_needed = false;
            if (is_top && walk.is_top_listed) placed.is_list_needed = true;
            if (directory.watch == WatchTree::kUnwatched && watch != WatchTree::kUnwatched) {
                placed.is_list_needed = placed.is_watched_now = true;
                tree_.set_watch(node, watch);
            }
            if (!is_alias && !is_root && !directory.is_root) {
                placed.has_moved = directory.parent != task.parent || directory.name != task.name;
                if (placed.has_moved && !tree_.place(node, task.parent, task.name)) {
                    // It lies above the place where it was found: records of that are to come.
                    if (walk.is_reported) walk.look.is_too_early = true;
                    return {};
                }
                if (placed.has_moved && walk.is_reported && !is_top)
                    arrival = Arrival{directory.handle, tree_.at(task.parent).handle, task.name};
            }
        }
        tree_.at(node).visited = walk.number;
        if (placed.is_fresh || placed.has_moved)
            tree_.at(node).doubtful_until = readings_.load() + 1;
        placed.node = node;
    }
    for (const int dead : stale) inotify_rm_watch(inotify_.get(), dead);
    if (arrival) walk.look.arrivals.push_back(std::move(*arrival));
    return placed;
}

bool DirectoryWatches::list(const std::shared_ptr<const UniqueFd>& directory, Node node,
                            Walk& walk) {
    std::string path;
    if (skip_) path = with_tree([&](WatchTree& tree) { return tree.path(node).value_or(""); });
    bool has_entries = false;
    std::vector<Task> found;
    Bytes buffer(std::size_t{32} << 10);
    for (;;) {
        const ssize_t length = RealFs::instance().list(directory->get(), buffer);
        // What a directory that cannot be read to its end holds is not watched.
        if (length < 0 && errno != ENOENT) ++unreadable_;
        if (length <= 0) break;
        for (ssize_t at = 0; at < length;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
            at += entry->d_reclen;
            const std::string_view name(entry->d_name);
            if (name == "." || name == "..") continue;
            has_entries = true;
            bool is_directory = entry->d_type == DT_DIR;
            if (entry->d_type == DT_UNKNOWN) {
                struct stat status {};
                is_directory = fstatat(directory->get(), entry->d_name, &status,
                                       AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 &&
                               S_ISDIR(status.st_mode);
            }
            if (!is_directory || (!path.empty() && skip_(path, std::string(name)))) continue;
            found.push_back({directory, node, std::string(name)});
        }
    }
    if (found.empty()) return has_entries;
    std::unique_lock<std::mutex> guard;
    if (walk.lock != nullptr) guard = std::unique_lock(*walk.lock);
    for (Task& task : found) walk.tasks.push_back(std::move(task));
    return has_entries;
}

bool DirectoryWatches::is_same_volume(int fd) const {
    struct statx status {};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &status) != 0) return false;
    if (makedev(status.stx_dev_major, status.stx_dev_minor) == device_) return true;
    // A subvolume of btrfs is another device on the same mount.
    return mount_ != 0 && (status.stx_mask & STATX_MNT_ID) != 0 && status.stx_mnt_id == mount_;
}

bool DirectoryWatches::reserve_watch() {
    if (is_limit_reached_) return false;
    const std::lock_guard guard(mutex_);
    const std::uint64_t most = most_watches_ != 0 ? most_watches_ : most_now_;
    if (most == 0 || tree_.size() - tree_.unwatched() + reserved_ < most) {
        ++reserved_;
        return true;
    }
    is_limit_reached_ = true;
    return false;
}

// The kernel knows the directory by its inode, and gives one that has a watch the same again.
int DirectoryWatches::add_watch(int fd) {
    std::array<char, 32> link{};
    std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
    const int watch = inotify_add_watch(inotify_.get(), link.data(), kMask);
    if (watch >= 0) return watch;
    if (errno == ENOSPC || errno == ENOMEM)
        is_limit_reached_ = true;
    else
        ++unreadable_;
    return WatchTree::kUnwatched;
}

std::shared_ptr<const UniqueFd> DirectoryWatches::open_node(Node node, const std::string& path,
                                                            const ObjectHandle& handle) {
    if (cached_ == node && cached_fd_ != nullptr) {
        const Result<ObjectHandle> same = handle_of(cached_fd_->get(), "");
        if (same.ok() && *same == handle) return cached_fd_;
    }
    const int fd = open_path(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOATIME);
    if (fd < 0) return nullptr;
    auto opened = std::make_shared<const UniqueFd>(fd);
    const Result<ObjectHandle> found = handle_of(fd, "");
    if (!found.ok() || *found != handle) return nullptr;
    cached_ = node;
    cached_fd_ = opened;
    return opened;
}

void DirectoryWatches::close_cached() {
    cached_ = WatchTree::kNone;
    cached_fd_.reset();
}

void DirectoryWatches::remove(Node node) {
    std::vector<int> watches;
    with_tree(
        [&](WatchTree& tree) { tree.remove(node, [&](int watch) { watches.push_back(watch); }); });
    if (cached_ == node) close_cached();
    // The kernel answers each with a last record.
    for (const int watch : watches) inotify_rm_watch(inotify_.get(), watch);
}

std::optional<std::string> DirectoryWatches::path_of(const ObjectHandle& handle) const {
    const std::lock_guard guard(mutex_);
    const Node node = tree_.by_handle(handle);
    if (node == WatchTree::kNone) return std::nullopt;
    return tree_.path(node);
}

std::vector<std::string> DirectoryWatches::unwatched_paths() const {
    std::vector<std::string> paths;
    const std::lock_guard guard(mutex_);
    if (tree_.unwatched() == 0) return paths;
    tree_.each([&](Node node) {
        if (tree_.at(node).watch != WatchTree::kUnwatched) return;
        if (auto path = tree_.path(node)) paths.push_back(std::move(*path));
    });
    return paths;
}

std::uint64_t DirectoryWatches::watched() const {
    const std::lock_guard guard(mutex_);
    return tree_.size() - tree_.unwatched();
}

std::uint64_t DirectoryWatches::unwatched() const {
    const std::lock_guard guard(mutex_);
    return tree_.unwatched();
}

std::string DirectoryWatches::problem() const {
    const std::uint64_t count = unwatched();
    if (count == 0) return {};
    std::string text = std::to_string(count) + " directories have no watch: ";
    if (is_limit_reached_ && most_watches_ != 0)
        return text + "the limit of " + std::to_string(most_watches_) +
               " watches is reached; raise most-watches, up to fs.inotify.max_user_watches, now " +
               std::to_string(system_limit());
    if (is_limit_reached_)
        return text +
               "the limit of inotify watches is reached; raise fs.inotify.max_user_watches, "
               "now " +
               std::to_string(system_limit()) + ", with sysctl";
    return text + "they cannot be opened; exclude them, or let backupd read them";
}

}  // namespace backup
