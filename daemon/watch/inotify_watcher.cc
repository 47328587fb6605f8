#include "daemon/watch/inotify_watcher.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/watch/mount_table.h"

namespace backup {

namespace {

using Kind = WatchBatch::DirectoryMove::Kind;

constexpr std::size_t kReadBytes = std::size_t{64} << 10;
// Records that wait to be taken apart, in memory. Beyond it they are lost like in the kernel.
constexpr std::size_t kMostWaiting = std::size_t{64} << 20;
// The kernel holds 16,384 records by default, of 16 bytes and a name.
constexpr std::uint64_t kLongQueue = std::uint64_t{100} << 10;
// How long the second half of a rename may take.
constexpr std::chrono::milliseconds kRenameTime{100};
// How often and how many times a directory is looked for that is not where it should be.
constexpr std::chrono::milliseconds kLookTime{20};
constexpr unsigned kMostTries = 50;

WatchBatch::DirectoryMove arrival(ObjectHandle object, ObjectHandle directory,
                                  std::string_view name) {
    WatchBatch::DirectoryMove move;
    move.kind = Kind::arrived;
    move.object = std::move(object);
    move.to_directory = std::move(directory);
    move.to_name = name;
    return move;
}

}  // namespace

InotifyWatcher::InotifyWatcher(std::vector<Path> roots, std::uint64_t device, WatchOptions options)
    : roots_(std::move(roots)),
      device_(device),
      options_(std::move(options)),
      mailbox_(options_.nudge, options_.most_names),
      watches_(roots_, options_.skip, options_.most_watches, readings_),
      buffer_(kReadBytes),
      reader_(*this) {}

InotifyWatcher::~InotifyWatcher() {
    reader_.stop();
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    work_came_.notify_all();
    if (worker_.joinable()) worker_.join();
}

Result<> InotifyWatcher::start() {
    TRY(watches_.start());
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Result<> started;
    try {
        worker_ = std::thread([this] { run(); });
        pthread_setname_np(worker_.native_handle(), "watch-tree");
    } catch (const std::system_error& error) {
        started = Error(ErrorKind::io, std::string("start a thread: ") + error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    TRY(std::move(started));
    TRY(reader_.start("watch-inotify"));
    // From then on the tree is what the records made of it.
    reader_.ask();
    return {};
}

// ---- the reader ----

std::chrono::milliseconds InotifyWatcher::read_queue() {
    const std::uint64_t number = ++readings_;
    int queued = 0;
    ioctl(watches_.descriptor(), FIONREAD, &queued);
    queue_bytes_ = static_cast<unsigned>(queued);
    std::deque<Reading> read_now;
    std::size_t total = 0;
    // Not until the queue is empty: that may never happen while somebody writes.
    do {
        const ssize_t got = read(watches_.descriptor(), buffer_.data(), buffer_.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {
            give_up("reading the event queue failed");
            return {};
        }
        total += static_cast<std::size_t>(got);
        read_now.push_back({to_bytes(ByteView(buffer_).first(static_cast<std::size_t>(got)))});
    } while (total < static_cast<unsigned>(queued));
    if (read_now.empty()) read_now.emplace_back();
    read_now.back().number = number;
    {
        const std::lock_guard lock(mutex_);
        waiting_bytes_ += total;
        if (waiting_bytes_ > kMostWaiting) {
            processed_ += readings_done_.size();
            readings_done_.clear();
            read_now.clear();
            read_now.push_back({{}, number, true});
            waiting_bytes_ = 0;
        }
        for (Reading& reading : read_now) readings_done_.push_back(std::move(reading));
        pushed_ += read_now.size();
    }
    work_came_.notify_all();
    if (total > kLongQueue) return std::chrono::milliseconds{};
    return total > kLongQueue / 4 ? ReaderThread::kPause / 4 : ReaderThread::kPause;
}

void InotifyWatcher::mounts_changed() {
    const Result<MountTable> table = MountTable::read();
    if (!table.ok()) return give_up(table.error().message());
    for (const Path& root : roots_) {
        const Mount* mount = table->find(root.text());
        if (mount != nullptr && mount->device == device_) continue;
        return give_up("another file system is mounted at " + printable(root.text()) +
                       " now, or none");
    }
}

// ---- what comes in by calls ----

bool InotifyWatcher::wait_until_processed() {
    if (!reader_.wait_until_read().ok()) return false;
    std::unique_lock lock(mutex_);
    const std::uint64_t target = pushed_;
    return work_done_.wait_for(lock, ReaderThread::kPatience,
                               [&] { return processed_ >= target || is_dead_ || is_stopping_; });
}

Result<WatchBatch> InotifyWatcher::barrier() {
    if (!wait_until_processed())
        return Error(ErrorKind::transient, "the event reader did not answer in time");
    return mailbox_.take();
}

// The tree is only as new as the last record, so the answer is checked; a wrong one is asked again
// when the records up to now are in the tree.
std::optional<std::string> InotifyWatcher::path_of(const ObjectHandle& directory) {
    for (int tries = 0; tries < 3; ++tries) {
        const bool is_known = watches_.with_tree(
            [&](WatchTree& tree) { return tree.by_handle(directory) != WatchTree::kNone; });
        if (!is_known && tries > 0) return std::nullopt;
        if (std::optional<std::string> path = watches_.path_of(directory)) {
            if (path->size() >= 4096) return path;  // cannot be asked in one call
            const Result<ObjectHandle> found = handle_of(AT_FDCWD, path->c_str());
            if (found.ok() && *found == directory) return path;
        }
        if (!wait_until_processed()) return std::nullopt;
    }
    return std::nullopt;
}

std::optional<Watcher::ObjectFacts> InotifyWatcher::facts_of(const ObjectHandle& object) {
    const bool is_known = watches_.with_tree(
        [&](WatchTree& tree) { return tree.by_handle(object) != WatchTree::kNone; });
    if (!is_known) return std::nullopt;
    return ObjectFacts{.device = device_, .inode = 0, .links = 1, .is_directory = true};
}

void InotifyWatcher::request_unwatched(bool wait) {
    std::unique_lock lock(mutex_);
    const std::uint64_t mine = ++unwatched_asked_;
    work_came_.notify_all();
    if (wait)
        work_done_.wait(lock, [&] { return unwatched_done_ >= mine || is_dead_ || is_stopping_; });
}

std::vector<std::string> InotifyWatcher::unwatched() {
    if (watches_.unwatched() == 0) return {};
    request_unwatched(true);
    return watches_.unwatched_paths();
}

void InotifyWatcher::retry_unwatched() {
    if (watches_.unwatched() != 0) request_unwatched(false);
}

WatchStatus InotifyWatcher::status() const {
    WatchStatus status;
    status.kind = WatchKind::inotify;
    status.records = records_;
    status.overflows = overflows_;
    status.queue_bytes = queue_bytes_;
    status.watched_directories = watches_.watched();
    status.unwatched_directories = watches_.unwatched();
    status.problem = watches_.problem();
    const std::lock_guard lock(problem_mutex_);
    if (!problem_.empty()) status.problem = problem_;
    return status;
}

// ---- the other thread ----

void InotifyWatcher::run() {
    for (;;) {
        Reading reading;
        bool is_idle = false, is_asked = false;
        std::uint64_t asked = 0;
        {
            std::unique_lock lock(mutex_);
            const auto is_ready = [&] {
                return is_stopping_ || is_dead_ || !readings_done_.empty() ||
                       unwatched_asked_ != unwatched_done_;
            };
            if (next_chore_ == Clock::time_point::max())
                work_came_.wait(lock, is_ready);
            else
                work_came_.wait_until(lock, next_chore_, is_ready);
            if (is_stopping_ || is_dead_) break;
            is_idle = readings_done_.empty();
            asked = unwatched_asked_;
            is_asked = asked != unwatched_done_;
            if (!is_idle) {
                reading = std::move(readings_done_.front());
                readings_done_.pop_front();
                waiting_bytes_ -= std::min(waiting_bytes_, reading.records.size());
            }
        }
        if (!is_idle) {
            if (reading.is_overflow) {
                ++overflows_;
                start_over("more event records than fit into memory waited");
            }
            process(reading.records);
            if (reading.number != 0) processed_reading_ = reading.number;
        } else if (is_asked) {
            has_looked_ = true;
            report(watches_.look_at_unwatched());
        }
        bool is_done = false;
        {
            const std::lock_guard lock(mutex_);
            if (!is_idle) ++processed_;
            if (is_idle && is_asked) unwatched_done_ = asked;
            is_done = readings_done_.empty();
        }
        work_done_.notify_all();
        if (is_done) do_chores();
    }
    work_done_.notify_all();
}

// Whenever all that was read is processed.
void InotifyWatcher::do_chores() {
    retry_looks();
    expire_departures();
    watches_.close_cached();
    // What was found by looking may be newer than the records up to now: until those are read.
    if (std::exchange(has_looked_, false)) reader_.ask();
    const bool is_waiting = !later_.empty() || watches_.with_tree([](WatchTree& tree) {
        return !tree.adrift().empty();
    });
    next_chore_ = is_waiting ? Clock::now() + kLookTime : Clock::time_point::max();
}

void InotifyWatcher::process(ByteView buffer) {
    InotifyDecoder decoder(buffer);
    InotifyRecord record;
    std::uint64_t count = 0;
    while (!is_dead_ && decoder.next(record)) {
        ++count;
        if (record.is_overflow) {
            ++overflows_;
            start_over("the kernel's event queue overflowed");
            continue;
        }
        if (record.is_unusable || failpoint("events.garbled")) {
            start_over("an event record could not be understood");
            continue;
        }
        if ((record.mask & IN_IGNORED) != 0) {
            watch_ended(record.watch);
            continue;
        }
        bool is_dead = false;
        const Node node = watches_.with_tree([&](WatchTree& tree) {
            is_dead = tree.is_dead(record.watch);
            return tree.by_watch(record.watch);
        });
        if (node != WatchTree::kNone)
            collect(record, node);
        else if (!is_dead)
            start_over("an event record of a directory that is not known");
    }
    records_ += count;
    mailbox_.fill([&](Collector& collector) { collector.count(count); });
}

void InotifyWatcher::collect(const InotifyRecord& record, Node node) {
    const std::uint32_t mask = record.mask;
    bool is_root = false;
    const ObjectHandle directory = watches_.with_tree([&](WatchTree& tree) {
        is_root = tree.at(node).is_root;
        return tree.at(node).handle;
    });
    if ((mask & IN_UNMOUNT) != 0) return give_up("the file system was unmounted");
    if (record.name.empty()) {
        if (is_root && (mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0)
            return give_up("the directory that was watched was removed or renamed");
        if ((mask & IN_ATTRIB) != 0)
            mailbox_.fill([&](Collector& collector) { collector.directory(directory); });
        return;
    }
    constexpr std::uint32_t kContent = IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO;
    mailbox_.fill([&](Collector& collector) {
        collector.name(directory, record.name,
                       {.content = (mask & kContent) != 0, .closed = (mask & IN_CLOSE_WRITE) != 0});
    });
    if ((mask & IN_ISDIR) == 0) return;
    if ((mask & IN_MOVED_FROM) != 0) return departed(node, directory, record);
    if ((mask & (IN_CREATE | IN_MOVED_TO)) != 0) return came(node, directory, record);
    // One without a watch: its end is told by its parent only, and so is that it may be read now.
    const Node child =
        watches_.with_tree([&](WatchTree& tree) { return tree.child(node, record.name); });
    const bool is_watched = child != WatchTree::kNone && watches_.with_tree([&](WatchTree& tree) {
        return tree.at(child).watch != WatchTree::kUnwatched;
    });
    if ((mask & IN_DELETE) != 0 && child != WatchTree::kNone && !is_watched) watches_.remove(child);
    if ((mask & IN_ATTRIB) != 0 && !is_watched) {
        has_looked_ = true;
        report(watches_.look(node, record.name));
    }
}

void InotifyWatcher::departed(Node node, const ObjectHandle& directory,
                              const InotifyRecord& record) {
    Departure departure{{}, directory, std::string(record.name)};
    departure.since = Clock::now();
    watches_.with_tree([&](WatchTree& tree) {
        // One that was put in its place before this record was read: two directories exchanged
        // their names, or a look was ahead of the records.
        const Node displaced = tree.displaced(node, record.name);
        if (displaced != WatchTree::kNone) {
            tree.at(displaced).was_displaced = false;
            departure.is_unclear = true;
            return;
        }
        const Node child = tree.child(node, record.name);
        if (child == WatchTree::kNone) return;
        departure.object = tree.at(child).handle;
        departure.is_certain = tree.at(child).doubtful_until <= processed_reading_;
        tree.set_adrift(child);
    });
    departures_[record.cookie] = std::move(departure);
    // Halves that stay alone: cookies only grow.
    if (departures_.size() > 1000) departures_.erase(departures_.begin());
}

void InotifyWatcher::came(Node node, const ObjectHandle& directory, const InotifyRecord& record) {
    Departure departure;
    if ((record.mask & IN_MOVED_TO) != 0) {
        auto half = departures_.extract(record.cookie);
        if (!half.empty()) departure = std::move(half.mapped());
    }
    has_looked_ = true;
    DirectoryWatches::Look look = watches_.look(node, record.name);
    std::vector<WatchBatch::DirectoryMove> moves;
    if (departure.is_certain) {
        WatchBatch::DirectoryMove move = arrival(departure.object, directory, record.name);
        move.kind = Kind::moved;
        move.from_directory = departure.directory;
        move.from_name = departure.name;
        moves.push_back(std::move(move));
    }
    const bool is_what_came = departure.is_certain && departure.object == look.object;
    using Found = DirectoryWatches::Look::Found;
    switch (look.found) {
        case Found::nothing:
            break;  // it went on, or is not wanted; the name is reported
        case Found::known:
            if (is_what_came)
                watches_.with_tree([&](WatchTree& tree) { tree.at(look.node).doubtful_until = 0; });
            else if (look.has_moved)
                moves.push_back(arrival(look.object, directory, record.name));
            break;
        case Found::fresh:
            moves.push_back(arrival(look.object, directory, record.name));
            // Born, and all that happened in it is told; not if something came before its watch.
            if ((record.mask & IN_CREATE) != 0 && look.relist.empty())
                moves.back().kind = Kind::born;
            break;
        case Found::unreachable:
            moves.push_back(arrival(look.object, directory, record.name));
            break;
    }
    if (look.is_too_early) {
        moves.push_back(arrival({}, directory, record.name));
        later_.push_back({directory, std::string(record.name)});
    }
    mailbox_.fill([&](Collector& collector) {
        for (auto& move : moves) collector.move(std::move(move));
    });
    report(std::move(look));
}

void InotifyWatcher::report(DirectoryWatches::Look look) {
    if (look.relist.empty() && look.arrivals.empty()) return;
    mailbox_.fill([&](Collector& collector) {
        for (const ObjectHandle& directory : look.relist) collector.relist(directory);
        for (auto& known : look.arrivals)
            collector.move(
                arrival(std::move(known.object), std::move(known.directory), known.name));
    });
}

// The directory of a name was somewhere else already when its record was read; by now the records
// that say where may have been processed.
void InotifyWatcher::retry_looks() {
    if (later_.empty()) {
        later_tries_ = 0;
        return;
    }
    if (Clock::now() < next_look_) return;
    next_look_ = Clock::now() + kLookTime;
    if (++later_tries_ > kMostTries) return look_at_all();
    for (Place& place : std::exchange(later_, {})) {
        const Node node =
            watches_.with_tree([&](WatchTree& tree) { return tree.by_handle(place.directory); });
        if (node == WatchTree::kNone) continue;
        has_looked_ = true;
        DirectoryWatches::Look look = watches_.look(node, place.name);
        if (look.is_too_early) {
            later_.push_back(std::move(place));
            continue;
        }
        if (look.found != DirectoryWatches::Look::Found::nothing)
            mailbox_.fill([&](Collector& collector) {
                collector.move(arrival(look.object, place.directory, place.name));
            });
        report(std::move(look));
    }
}

// A directory whose rename has no other side has left: its watches would go on reporting. Not
// before the queue was read once more, after the time that the other side may take. Where the
// records leave open who it was that left, the whole tree is looked at: better slow than blind.
void InotifyWatcher::expire_departures() {
    const auto now = Clock::now();
    const auto milliseconds =
        std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    std::unordered_set<ObjectHandle> left;
    bool is_unclear = false;
    for (const auto& [cookie, departure] : departures_) {
        if (departure.is_certain) left.insert(departure.object);
        is_unclear |= departure.is_unclear && now - departure.since > kRenameTime;
    }
    std::vector<Node> gone;
    watches_.with_tree([&](WatchTree& tree) {
        for (const Node node : tree.adrift()) {
            WatchTree::Directory& directory = tree.at(node);
            if (directory.adrift_since == 0) directory.adrift_since = milliseconds;
            if (milliseconds - directory.adrift_since < kRenameTime.count()) continue;
            if (directory.adrift_reading == 0) {
                directory.adrift_reading = readings_.load() + 1;
                has_looked_ = true;
            } else if (processed_reading_ >= directory.adrift_reading) {
                if (left.contains(directory.handle))
                    gone.push_back(node);
                else
                    is_unclear = true;
            }
        }
    });
    for (const Node node : gone) watches_.remove(node);
    if (is_unclear) return look_at_all();
    std::erase_if(departures_, [&](const auto& departure) {
        return now - departure.second.since > 10 * kRenameTime;
    });
}

void InotifyWatcher::look_at_all() {
    departures_.clear();
    later_.clear();
    later_tries_ = 0;
    has_looked_ = true;
    report(watches_.look_at_all());
}

void InotifyWatcher::watch_ended(int watch) {
    Node node = WatchTree::kNone;
    bool is_root = false;
    watches_.with_tree([&](WatchTree& tree) {
        node = tree.by_watch(watch);
        if (!tree.forget_watch(watch)) return;
        is_root = tree.at(node).is_root;
        // A removed directory is empty: what the tree has below it is about to turn up elsewhere.
        for (const Node child : tree.children(node)) tree.set_adrift(child);
    });
    if (node == WatchTree::kNone) return;
    if (is_root) return give_up("the directory that was watched is gone");
    watches_.remove(node);
}

// Directories made while records were lost have no watch. Only when they have one again may the
// loss be told: whoever hears of it looks at everything, and what happens from then on is reported.
void InotifyWatcher::start_over(std::string_view reason) {
    log_warning(std::string(reason) + "; " + printable(roots_.front().text()) +
                " is scanned again");
    const Result<> done = watches_.start_over();
    if (!done.ok()) return give_up(done.error().message());
    departures_.clear();
    later_.clear();
    later_tries_ = 0;
    has_looked_ = true;
    mailbox_.fill([&](Collector& collector) { collector.lose(reason); });
}

void InotifyWatcher::give_up(std::string_view reason) {
    if (is_dead_.exchange(true)) return;
    {
        const std::lock_guard lock(problem_mutex_);
        problem_ = reason;
    }
    mailbox_.fill([&](Collector& collector) {
        collector.lose(reason);
        collector.gone();
    });
    { const std::lock_guard lock(mutex_); }
    work_came_.notify_all();
    work_done_.notify_all();
    reader_.ask();
}

Result<std::unique_ptr<Watcher>> watch_with_inotify(const std::vector<Path>& roots,
                                                    WatchOptions options) {
    if (roots.empty()) return Error(ErrorKind::invalid, "nothing to watch");
    const MountTable table = TRY(MountTable::read());
    std::uint64_t device = 0;
    for (const Path& root : roots) {
        const Mount* mount = table.find(root.text());
        if (mount == nullptr)
            return Error(ErrorKind::invalid, "no mount for " + printable(root.text()));
        switch (volume_class(mount->type)) {
            case VolumeClass::local:
            case VolumeClass::overlay:
            case VolumeClass::fuse:
                break;
            case VolumeClass::remote:
            case VolumeClass::pseudo:
                return Error(ErrorKind::invalid,
                             "inotify cannot watch a file system of type " + mount->type);
        }
        if (device == 0) device = mount->device;
        if (mount->device != device)
            return Error(ErrorKind::invalid, "the places to watch lie on several file systems");
    }
    auto watcher = std::make_unique<InotifyWatcher>(roots, device, std::move(options));
    TRY(watcher->start());
    return std::unique_ptr<Watcher>(std::move(watcher));
}

}  // namespace backup
