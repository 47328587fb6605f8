#include "daemon/watch/fanotify_watcher.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/watch/kernel_handle.h"
#include "daemon/watch/mount_table.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

// FIONREAD on a group counts this for each record, whatever its real size ...
constexpr std::uint64_t kCountedBytes = FAN_EVENT_METADATA_LEN;
// ... and this is what a record takes in kernel memory (measured).
constexpr std::uint64_t kMemoryBytes = 228;
constexpr std::size_t kReadBytes = std::size_t{256} << 10;
// A queue of this many records is read on without a pause.
constexpr std::uint64_t kLongQueue = 50'000;

// That an object cannot be opened says nothing about whether it is there.
bool is_shortage(int error) {
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR || error == EIO;
}

bool is_below(const std::string& path, const Path& root) {
    const std::string& top = root.text();
    if (root.is_root()) return true;
    return path.compare(0, top.size(), top) == 0 &&
           (path.size() == top.size() || path[top.size()] == '/');
}

}  // namespace

FanotifyWatcher::FanotifyWatcher(const std::vector<Path>& roots, std::uint64_t device,
                                 WatchOptions options)
    : device_(device),
      options_(std::move(options)),
      mailbox_(options_.nudge, options_.most_names),
      links_(open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)),
      buffer_(kReadBytes),
      reader_(*this) {
    for (const Path& root : roots) roots_.push_back({root});
}

FanotifyWatcher::~FanotifyWatcher() {
    reader_.stop();
}

Result<> FanotifyWatcher::start(UniqueFd inherited) {
    if (inherited && is_marked(inherited.get(), device_)) {
        group_.fd = std::move(inherited);
    } else {
        const bool was_inherited = inherited.is_open();
        group_ = TRY(make_fanotify_group(roots_.front().path));
        if (was_inherited)
            mailbox_.fill([](Collector& collector) {
                collector.lose("the file system was unmounted while nobody watched");
            });
    }
    for (Root& root : roots_) {
        struct stat status {};
        if (stat(root.path.c_str(), &status) != 0)
            return Error::from_errno(errno, "look at " + printable(root.path.text()));
        root.device = status.st_dev;
    }
    // What cannot be found is of no use.
    const ObjectHandle handle = TRY(handle_of(AT_FDCWD, roots_.front().path.c_str(), true));
    if (!path_of(handle))
        return Error(ErrorKind::denied,
                     "fanotify: opening by handle is not permitted (CAP_DAC_READ_SEARCH)");
    return reader_.start("watch-fanotify");
}

Result<WatchBatch> FanotifyWatcher::barrier() {
    const Result<> done = reader_.wait_until_read();
    if (!done.ok()) return done.error();
    return mailbox_.take();
}

WatchStatus FanotifyWatcher::status() const {
    WatchStatus status;
    status.kind = WatchKind::fanotify;
    status.records = records_;
    status.overflows = overflows_;
    status.queue_bytes = queue_bytes_;
    const std::lock_guard lock(problem_mutex_);
    status.problem = problem_;
    return status;
}

UniqueFd FanotifyWatcher::group() const {
    const std::lock_guard lock(group_mutex_);
    return UniqueFd(fcntl(group_.fd.get(), F_DUPFD_CLOEXEC, 3));
}

std::uint64_t FanotifyWatcher::queued_records() const {
    int bytes = 0;
    if (ioctl(group_.fd.get(), FIONREAD, &bytes) != 0) return 0;
    return static_cast<std::uint64_t>(static_cast<unsigned>(bytes)) / kCountedBytes;
}

std::chrono::milliseconds FanotifyWatcher::read_queue() {
    const std::uint64_t queued = queued_records();
    queue_bytes_ = queued * kMemoryBytes;
    if (queued * kMemoryBytes > options_.most_queue_bytes) {
        start_over(queued);
        return {};
    }
    // Not until the queue is empty: that may never happen while somebody writes.
    std::uint64_t records = 0;
    do {
        const ssize_t got = read(group_.fd.get(), buffer_.data(), buffer_.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {
            give_up("reading the event queue failed");
            return {};
        }
        const ByteView view(buffer_.data(), static_cast<std::size_t>(got));
        mailbox_.fill([&](Collector& collector) { decode(view, collector, records); });
    } while (records < queued);
    records_ += records;
    return queued > kLongQueue ? std::chrono::milliseconds{} : ReaderThread::kPause;
}

void FanotifyWatcher::decode(ByteView buffer, Collector& collector, std::uint64_t& records) {
    FanotifyDecoder decoder(buffer);
    FanotifyRecord record;
    std::uint64_t count = 0;
    while (decoder.next(record)) {
        ++count;
        if (record.is_overflow) {
            ++overflows_;
            collector.lose("the kernel's event queue overflowed");
        } else if (record.is_unusable || failpoint("events.garbled")) {
            collector.lose("an event record could not be understood");
        } else if (options_.own_pid == 0 || record.pid != options_.own_pid) {
            collect(record, collector);
        }
    }
    collector.count(count);
    records += count;
}

void FanotifyWatcher::collect(const FanotifyRecord& record, Collector& collector) {
    using Kind = WatchBatch::DirectoryMove::Kind;
    const std::uint64_t mask = record.mask;
    const bool is_directory = (mask & FAN_ONDIR) != 0;
    const bool is_closed = (mask & FAN_CLOSE_WRITE) != 0;
    if ((mask & FAN_RENAME) != 0) {
        record.old_directory.assign_to(scratch_);
        collector.name(scratch_, record.old_name, {});
        record.new_directory.assign_to(scratch_);
        collector.name(scratch_, record.new_name, {.content = true});
        if (is_directory) {
            WatchBatch::DirectoryMove move;
            move.kind = record.object.empty() ? Kind::arrived : Kind::moved;
            if (!record.object.empty()) move.object = record.object.handle();
            move.from_directory = record.old_directory.handle();
            move.from_name = record.old_name;
            move.to_directory = record.new_directory.handle();
            move.to_name = record.new_name;
            collector.move(std::move(move));
        }
    }
    if (record.directory.empty()) {
        if (record.object.empty() || (mask & FAN_RENAME) != 0) return;
        record.object.assign_to(scratch_);
        if (is_directory)
            collector.directory(scratch_);
        else
            collector.object(scratch_);
        return;
    }
    record.directory.assign_to(scratch_);
    if (record.is_about_directory_itself()) {
        // A root of the file system that is a file, say, has no name to go by.
        if (is_directory || record.object.empty())
            collector.directory(scratch_);
        else
            collector.object((record.object.assign_to(scratch_object_), scratch_object_));
        return;
    }
    constexpr std::uint64_t kContent = FAN_MODIFY | FAN_CLOSE_WRITE | FAN_CREATE | FAN_MOVED_TO;
    Collector::Seen seen{.content = (mask & kContent) != 0, .closed = is_closed};
    constexpr std::uint64_t kOfFile = FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB;
    if (!is_directory && (mask & kOfFile) != 0 && !record.object.empty())
        record.object.assign_to(seen.object);
    collector.name(scratch_, record.name, seen);
    if (!is_directory) return;
    if ((mask & FAN_ATTRIB) != 0 && !record.object.empty()) {
        record.object.assign_to(scratch_object_);
        collector.directory(scratch_object_);
    }
    if ((mask & (FAN_CREATE | FAN_MOVED_TO)) != 0) {
        WatchBatch::DirectoryMove move;
        move.kind = (mask & FAN_MOVED_TO) != 0 ? Kind::arrived : Kind::born;
        if (!record.object.empty()) move.object = record.object.handle();
        move.to_directory = scratch_;
        move.to_name = record.name;
        collector.move(std::move(move));
    }
}

// The queue is charged to our memory: give it up and begin anew. The new mark stands before the old
// one goes, and before anybody hears of the loss: what happens from now on is in the new queue.
void FanotifyWatcher::start_over(std::uint64_t queued) {
    Result<FanotifyGroup> next = make_fanotify_group(roots_.front().path);
    if (!next.ok()) {
        give_up(next.error().message());
        return;
    }
    // A copy may live in the service manager: it must not go on filling.
    fanotify_mark(group_.fd.get(), FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, nullptr);
    {
        const std::lock_guard lock(group_mutex_);
        group_ = std::move(*next);
    }
    ++overflows_;
    const std::string reason = "the kernel's event queue grew too long (" + std::to_string(queued) +
                               " records) and was given up";
    log_warning(reason + "; " + roots_.front().path.text() + " is scanned again");
    mailbox_.fill([&](Collector& collector) { collector.lose(reason); });
}

void FanotifyWatcher::give_up(std::string_view reason) {
    {
        const std::lock_guard lock(problem_mutex_);
        problem_ = reason;
    }
    {
        const std::lock_guard lock(group_mutex_);
        group_.fd.reset();
    }
    mailbox_.fill([&](Collector& collector) {
        collector.lose(reason);
        collector.gone();
    });
}

// An unmount raises no event and takes the mark away; a remount would go unnoticed.
void FanotifyWatcher::mounts_changed() {
    if (!is_marked(group_.fd.get(), device_)) {
        give_up("the file system was unmounted");
        return;
    }
    const Result<MountTable> table = MountTable::read();
    if (!table.ok()) {
        give_up(table.error().message());
        return;
    }
    for (const auto& [root, ignored] : roots_) {
        const Mount* mount = table->find(root.text());
        if (mount != nullptr && mount->device == device_) continue;
        give_up("another file system is mounted at " + printable(root.text()) + " now, or none");
        return;
    }
}

std::optional<std::string> FanotifyWatcher::path_of(const ObjectHandle& directory) {
    for (const Root& root : roots_)
        if (auto path = path_through(root, directory)) return path;
    return std::nullopt;
}

UniqueFd FanotifyWatcher::open_root(const Root& root) {
    UniqueFd mount(open(root.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (!mount) {
        if (is_shortage(errno)) lose_object(errno);
        return {};
    }
    // Where nothing is mounted any more, the handle would be another file system's.
    struct stat status {};
    if (fstat(mount.get(), &status) != 0 || status.st_dev != root.device) return {};
    return mount;
}

// Opens an object by handle, through the mount that `root` lies on. No descriptor on the mount
// stays open, or it could not be unmounted.
UniqueFd FanotifyWatcher::open_object(const UniqueFd& root, KernelHandle& kernel) {
    int fd = -1;
    // ESTALE is how a deleted object answers. ENOMEM comes and goes: it is also the answer while
    // the inode of one that was deleted is just being made into another's, which takes as long as
    // whoever makes it is kept from the processor.
    for (int tries = 0; tries < 12; ++tries) {
        fd = open_by_handle_at(root.get(), kernel.get(), O_PATH | O_CLOEXEC);
        if (fd >= 0 || (errno != ENOMEM && errno != EINTR)) break;
        const int problem = errno;
        if (tries >= 2) std::this_thread::sleep_for(std::chrono::microseconds(50 << (tries - 2)));
        errno = problem;
    }
    if (fd < 0 && is_shortage(errno)) lose_object(errno);
    return UniqueFd(fd);
}

// Whoever asked takes the object for gone, and what is known of it for settled: a comparison says
// what is true of it.
void FanotifyWatcher::lose_object(int error) {
    const std::string reason = Error::from_errno(error, "open what an event is about").message();
    mailbox_.fill([&](Collector& collector) { collector.lose(reason); });
}

std::optional<std::string> FanotifyWatcher::path_through(const Root& root,
                                                         const ObjectHandle& handle) {
    KernelHandle kernel, found;
    if (!kernel.assign(handle)) return std::nullopt;
    const UniqueFd mount = open_root(root);
    if (!mount) return std::nullopt;
    const UniqueFd object = open_object(mount, kernel);
    if (!object) return std::nullopt;
    // Relative to the folder of links: half of an absolute look-up is the way through /proc.
    std::array<char, 16> link{};
    std::snprintf(link.data(), link.size(), "%d", object.get());
    std::string path;
    for (int tries = 0; tries < 10; ++tries) {
        char text[4096];  // not zeroed
        const ssize_t length = readlinkat(links_.get(), link.data(), text, sizeof(text));
        if (length < 0 && errno == ENAMETOOLONG) {
            auto deep = path_of_deep_directory(object.get());
            if (!deep || !is_below(*deep, root.path)) return std::nullopt;
            auto there = handle_of_path(*deep);
            if (!there.ok() || *there != handle) return std::nullopt;
            return deep;
        }
        if (length <= 0 || static_cast<std::size_t>(length) >= sizeof(text)) return std::nullopt;
        const std::string_view answer(text, static_cast<std::size_t>(length));
        // The same again: deleted, hidden under another mount, or not below this mount. Another
        // one: something on the way was renamed between the two calls.
        if (tries > 0 && answer == path) return std::nullopt;
        path = answer;
        if (is_below(path, root.path) && found.look_up(AT_FDCWD, path.c_str(), 0) == 0 &&
            found.equals(handle))
            return path;
    }
    return std::nullopt;
}

std::optional<Watcher::ObjectFacts> FanotifyWatcher::facts_of(const ObjectHandle& handle) {
    const UniqueFd object = open_object(handle);
    struct stat status {};
    if (!object || fstat(object.get(), &status) != 0) return std::nullopt;
    return ObjectFacts{status.st_dev, status.st_ino, status.st_nlink, S_ISDIR(status.st_mode)};
}

UniqueFd FanotifyWatcher::open_directory(const ObjectHandle& handle) {
    return open_object(handle);
}

// One of the roots may be gone, and those of other sets are there.
UniqueFd FanotifyWatcher::open_object(const ObjectHandle& handle) {
    KernelHandle kernel;
    if (!kernel.assign(handle)) return {};
    for (const Root& root : roots_)
        if (const UniqueFd mount = open_root(root)) return open_object(mount, kernel);
    return {};
}

}  // namespace backup
