// From a directory to batches of names.
#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>

#include "common/failpoint.h"
#include "common/log.h"
#include "daemon/archive/walk.h"

namespace backup {

namespace {

constexpr std::string_view kCacheTag = "CACHEDIR.TAG";
// https://bford.info/cachedir/: the first 43 bytes of the tag.
constexpr std::string_view kCacheSignature = "Signature: 8a477f597d28d172789f06886806bc55";

// Directories with more names than this are looked at by several workers at once.
constexpr std::size_t kBatchNames = 512;

std::atomic<std::uint64_t> last_directory_number{0};

// Of one run and worker: what is read back must not take longer than what was stored.
constexpr std::size_t kMostReadBack = 100'000;

// Ids are digests: their first bytes are as good as a throw of dice.
bool is_read_back(const BlobId& id, double percent) {
    if (percent <= 0) return false;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | id.bytes[i];
    return static_cast<double>(value) < percent / 100 * 4294967296.0;
}

bool by_name(const ListedName& a, const ListedName& b) {
    return a.name() < b.name();
}
bool same_name(const ListedName& a, const ListedName& b) {
    return a.name() == b.name();
}

ListedName listed_name(std::string_view with_nul) {
    return {with_nul.data(), static_cast<std::uint16_t>(with_nul.size()), DT_UNKNOWN};
}

// A single name, as a directory can hold it.
bool is_entry_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

}  // namespace

WalkWorker::WalkWorker(Walk& walk, bool large_too)
    : walk_(walk),
      large_too_(large_too),
      input_(walk.input),
      fs_(walk.input.fs),
      encoder_(walk.input.rules, walk.input.zone),
      xattrs_(walk.input.fs),
      large_reader_(walk.input.fs, walk.input.polynomial) {}

void WalkWorker::run() {
    for (;;) {
        WalkQueue::Task task = walk_.queue.take(large_too_);
        if (task.kind == WalkQueue::Task::Kind::end) return;
        work_on(task);
    }
}

void WalkWorker::run_alone(std::chrono::nanoseconds most) {
    auto end = std::chrono::steady_clock::now() + most;
    while (std::chrono::steady_clock::now() < end) {
        std::optional<WalkQueue::Task> task = walk_.queue.take_small();
        if (!task) return;
        work_on(*task);
    }
}

void WalkWorker::work_on(WalkQueue::Task& task) {
    using Kind = WalkQueue::Task::Kind;
    switch (task.kind) {
        case Kind::end:
            break;
        case Kind::chunk:
            store_chunk(task.chunk);
            break;
        case Kind::large_file:
            read_large(*task.large_file);
            walk_.queue.reader_done();
            break;
        case Kind::batch: {
            WalkGate::Inside inside(walk_.gate);
            save_batch(*task.directory, task.batch);
            break;
        }
        case Kind::child: {
            WalkGate::Inside inside(walk_.gate);
            enter_child(*task.directory, *task.fragment, *task.child);
            break;
        }
    }
}

void WalkWorker::enter_root() {
    auto* root = new Directory;
    root->number = ++last_directory_number;
    root->path = "/";
    root->target = &input_.targets;
    root->lists = input_.targets.is_target;
    root->before = input_.parent_tree;
    if (input_.resumed != nullptr) root->resumed = input_.resumed->tree;
    walk_.queue.enlist(*root);
    if (root->lists && input_.exclude.other_filesystems) {
        struct statx status;
        if (fs_.status(AT_FDCWD, "/", 0, status) == 0)
            root->device_allowed = identity_of(status).device;
    }
    enter(*root);
}

void WalkWorker::enter_child(Directory& parent, Fragment& fragment, ChildDirectory& child) {
    auto* directory = new Directory;
    directory->number = ++last_directory_number;
    directory->parent = &parent;
    directory->slot_fragment = &fragment;
    directory->slot = &child;
    directory->name = child.name;
    directory->identity = child.identity;
    directory->device_allowed = child.device_allowed;
    directory->before = child.before;
    directory->resumed = child.resumed;
    directory->lists = child.lists;
    if (child.explicit_target != nullptr) {
        directory->path = parent.path;
        append_path(directory->path, child.name);
        directory->target = child.explicit_target;
    }
    walk_.queue.enlist(*directory);
    enter(*directory);
}

int WalkWorker::open(Directory& directory, UniqueFd& fd) {
    if (!directory.path.empty()) {
        bool above_others = directory.target != nullptr && !directory.target->children.empty();
        int flags = above_others ? SourceReader::kDirectoryOrLink : SourceReader::kDirectory;
        return walk_.source.open({AT_FDCWD, directory.path.c_str()}, flags, fd);
    }
    int parent = walk_.fds.pin(*directory.parent);
    if (parent < 0) return parent;
    int error = walk_.source.open({parent, directory.name.c_str()}, SourceReader::kDirectory, fd);
    walk_.fds.unpin(*directory.parent);
    if (error < 0) return error;
    struct statx now;
    if (error = fs_.status(fd.get(), "", AT_EMPTY_PATH, now); error < 0) return error;
    return identity_of(now) == directory.identity ? 0 : -ESTALE;
}

void WalkWorker::enter(Directory& directory) {
    Bytes before_json;
    UniqueFd fd;
    std::optional<Error> lost = load_before(directory, before_json);
    int error = !lost && directory.lists ? open(directory, fd) : 0;
    if (input_.survey != nullptr && fd && failpoint("scan.directory")) error = -EIO;
    if (directory.parent != nullptr) walk_.fds.need(*directory.parent, -1);
    if (lost) return survey_without(directory, std::move(*lost));
    if (error < 0) return leave_out(directory, -error, "open");

    bool keep_unlisted = false;
    error = collect_names(directory, fd.get(), before_json, keep_unlisted);
    if (error < 0) return leave_out(directory, -error, "list");

    directory.before_size = before_json.size();
    // Names that were asked for one by one are found by their paths: there is no descriptor to
    // share.
    bool is_split = directory.lists && !keep_unlisted && names_.size() > 2 * kBatchNames &&
                    input_.measure == nullptr;  // in the order of names
    std::size_t batches = is_split ? (names_.size() + kBatchNames - 1) / kBatchNames : 1;
    directory.fragments.resize(batches);
    append(directory.fragments[0].out, as_bytes(kTreeBegin));
    directory.pending = batches;
    directory.fd_needed = batches;
    int pinned = fd.get();
    if (fd) walk_.fds.adopt(directory, std::move(fd));
    Bytes resumed_json = load_resumed(directory);
    if (is_split) return split(directory, std::move(before_json), std::move(resumed_json));
    Fragment& fragment = directory.fragments[0];
    bool followed =
        save_names(directory, fragment, pinned, names_, before_json, resumed_json, keep_unlisted);
    before_json = Bytes();
    if (!followed && keep_unlisted) {
        fragment = Fragment();
        append(fragment.out, as_bytes(kTreeBegin));
        fragment.same = false;
        error = collect_names(directory, pinned, {}, keep_unlisted);
        if (error < 0) {
            walk_.fds.unpin(directory);
            return leave_out(directory, -error, "list");
        }
        save_names(directory, fragment, pinned, names_, {}, resumed_json, false);
    }
    close_fragment(directory, fragment);
}

std::optional<Error> WalkWorker::load_before(Directory& directory, Bytes& json) {
    if (!directory.before) return {};
    auto loaded = input_.source.load({BlobType::tree, *directory.before});
    if (loaded.ok()) {
        json = std::move(*loaded);
        if (input_.survey != nullptr && input_.survey->pace) wait_for_pace(json);
        return {};
    }
    if (input_.survey != nullptr) return std::move(loaded).error();
    // Without it everything below is read again: slower, and it heals what is damaged.
    log_warning("a directory of the parent revision is read anew: " + loaded.error().message());
    directory.before.reset();
    return {};
}

// Empty: there is none, or it cannot be had any more.
Bytes WalkWorker::load_resumed(Directory& directory) {
    if (!directory.resumed) return {};
    auto loaded = input_.source.load({BlobType::tree, *directory.resumed});
    if (loaded.ok()) return std::move(*loaded);
    log_info("a directory of the interrupted run is read anew: " + loaded.error().message());
    return {};
}

// Perhaps. Without one there, and without one among the names, nobody need look for it.
bool WalkWorker::has_cache_tag(ByteView before_json) {
    return as_text(before_json).find("{\"name\":\"CACHEDIR.TAG\"") != std::string_view::npos;
}

bool WalkWorker::is_cache(int fd) {
    UniqueFd tag;
    struct statx status;
    if (walk_.source.open({fd, kCacheTag.data()}, SourceReader::kFile, tag) < 0) return false;
    if (fs_.status(tag.get(), "", AT_EMPTY_PATH, status) < 0 || !S_ISREG(status.stx_mode))
        return false;
    std::array<std::uint8_t, kCacheSignature.size()> begin;
    ssize_t got = fs_.read(tag.get(), begin);
    return got == static_cast<ssize_t>(begin.size()) && as_text(begin) == kCacheSignature;
}

int WalkWorker::collect_names(Directory& directory, int fd, ByteView before_json,
                              bool& keep_unlisted) {
    names_.clear();
    if (directory.lists) {
        auto what = LookAt::Directory::all;
        if (input_.look_at != nullptr && !before_json.empty())
            what = input_.look_at->directory(directory_path(directory));
        bool may_be_cache = input_.exclude.cachedir_tag;
        if (what == LookAt::Directory::all) {
            if (int error = listing_.read(fs_, fd); error < 0) return error;
            ++counts_.dirs_read;
            auto names = listing_.names();
            names_.assign(names.begin(), names.end());
        } else {
            keep_unlisted = true;
            named_.clear();
            if (what == LookAt::Directory::entries)
                named_ = input_.look_at->entries(directory_path(directory));
            for (const std::string& name : named_)
                if (is_entry_name(name)) names_.push_back(listed_name(name));
            std::sort(names_.begin(), names_.end(), by_name);
            names_.erase(std::unique(names_.begin(), names_.end(), same_name), names_.end());
        }
        if (may_be_cache)
            may_be_cache =
                std::binary_search(names_.begin(), names_.end(), listed_name(kCacheTag), by_name) ||
                (keep_unlisted && has_cache_tag(before_json));
        if (may_be_cache && is_cache(fd)) {
            names_ = {listed_name(kCacheTag)};
            keep_unlisted = false;
            if (input_.measure != nullptr && input_.measure->left_out)
                input_.measure->left_out(directory_path(directory), "cachedir-tag");
        }
    }
    if (directory.target != nullptr) add_explicit_names(directory);
    return 0;
}

void WalkWorker::add_explicit_names(const Directory& directory) {
    for (const auto& [name, node] : directory.target->children) {
        auto at = std::lower_bound(names_.begin(), names_.end(), listed_name(name), by_name);
        if (at == names_.end() || at->name() != name) names_.insert(at, listed_name(name));
    }
}

// Cuts names and the parent's nodes at the same places. The nodes of a batch are found by their
// bytes, so that each worker scans its part by itself.
void WalkWorker::split(Directory& directory, Bytes before_json, Bytes resumed_json) {
    directory.names = std::move(names_);
    names_ = {};
    directory.listing = std::move(listing_);
    listing_ = {};
    directory.before_json = std::move(before_json);
    directory.resumed_json = std::move(resumed_json);
    std::vector<Directory::Batch>& batches = directory.batches;
    batches.resize(directory.fragments.size());
    for (std::size_t i = 0; i < batches.size(); ++i) {
        batches[i].first_name = i * kBatchNames;
        batches[i].end_name = std::min((i + 1) * kBatchNames, directory.names.size());
    }
    if (!cut_nodes(directory, directory.before_json, &Directory::Batch::before))
        directory.fragments[0].same = false;
    (void)cut_nodes(directory, directory.resumed_json, &Directory::Batch::resumed);
    directory.batches_left = batches.size();
    walk_.fds.unpin(directory);
    walk_.queue.add_batches(directory);
}

bool WalkWorker::cut_nodes(Directory& directory, ByteView json,
                           Directory::Nodes Directory::Batch::*part) {
    if (json.empty()) return true;
    std::vector<Directory::Batch>& batches = directory.batches;
    TreeScanner scanner(json);
    std::size_t batch = 0;
    const char* base = as_text(json).data();
    for (;;) {
        auto next = scanner.next();
        if (!next.ok()) return false;
        if (*next == nullptr) return true;
        const RawNode& node = **next;
        while (batch + 1 < batches.size() &&
               node.name >= directory.names[batches[batch + 1].first_name].name())
            ++batch;
        auto begin = static_cast<std::size_t>(node.bytes.data() - base);
        Directory::Nodes& nodes = batches[batch].*part;
        if (nodes.end == 0) nodes.begin = begin;
        nodes.end = begin + node.bytes.size();
    }
}

// As a tree of their own.
void WalkWorker::copy_nodes(ByteView json, const Directory::Nodes& nodes, Bytes& out) {
    out.clear();
    if (nodes.end == 0) return;
    append(out, as_bytes(kTreeBegin));
    append(out, json.subspan(nodes.begin, nodes.end - nodes.begin));
    append(out, as_bytes("]}\n"));
}

void WalkWorker::save_batch(Directory& directory, std::size_t batch) {
    Fragment& fragment = directory.fragments[batch];
    const Directory::Batch& range = directory.batches[batch];
    int fd = walk_.fds.pin(directory);
    if (fd < 0) {
        fragment.same = false;
        if (input_.survey == nullptr)
            except(directory_path(directory), Error::from_errno(-fd, "open again"));
        else if (directory.parent != nullptr)
            tell(directory, SurveyFinding::Kind::unreadable);
    } else {
        copy_nodes(directory.before_json, range.before, batch_json_);
        copy_nodes(directory.resumed_json, range.resumed, batch_resumed_);
        std::span<const ListedName> names(directory.names);
        save_names(directory, fragment, fd,
                   names.subspan(range.first_name, range.end_name - range.first_name), batch_json_,
                   batch_resumed_, false);
    }
    if (--directory.batches_left == 0) {
        directory.names = {};
        directory.listing = {};
        directory.before_json = Bytes();
        directory.resumed_json = Bytes();
    }
    if (fd < 0) {
        walk_.fds.need(directory, -1);
        if (directory.pending.fetch_sub(1) == 1) finish(directory);
        return;
    }
    close_fragment(directory, fragment);
}

// Ends a batch: what it has found is given to all workers.
void WalkWorker::close_fragment(Directory& directory, Fragment& fragment) {
    note_progress();
    std::size_t found = fragment.children.size() + fragment.large.size();
    for (LargeFile& file : fragment.large) {
        file.directory = &directory;
        file.fragment = &fragment;
    }
    directory.pending += found;
    if (directory.lists) walk_.fds.unpin(directory);
    walk_.fds.need(directory, static_cast<std::ptrdiff_t>(found) - 1);
    if (found > 0) walk_.queue.add_found(directory, fragment);
    if (directory.pending.fetch_sub(1) == 1) finish(directory);
}

void WalkWorker::leave_out(Directory& directory, int error, const char* action) {
    bool vanished = error == ENOENT && directory.path.empty();
    bool replaced = error == ENOTDIR || error == ELOOP || error == ESTALE;
    bool exhausted = error == EMFILE || error == ENFILE || error == ENOMEM;
    if (exhausted || directory.parent == nullptr) {
        std::string what = std::string(action) + " " + printable(directory_path(directory));
        return walk_.queue.fail(Error::from_errno(error, what));
    }
    if (directory.before) parent_.note_gone_tree(0, *directory.before, vanished);
    if (input_.measure != nullptr) {
        // The run itself will tell.
    } else if (input_.survey != nullptr)
        tell(directory, vanished   ? SurveyFinding::Kind::gone
                        : replaced ? SurveyFinding::Kind::created
                                   : SurveyFinding::Kind::unreadable);
    else if (replaced)
        except(directory_path(directory), Error(ErrorKind::transient, "replaced while being read"));
    else if (!vanished)
        except(directory_path(directory), Error::from_errno(error, action));
    complete(&directory, std::nullopt);
}

const std::string& WalkWorker::directory_path(const Directory& directory) {
    if (path_owner_ != directory.number) {
        path_ = path_of(directory);
        path_owner_ = directory.number;
    }
    return path_;
}

void WalkWorker::note_progress() {
    input_.progress.items_done.fetch_add(items_noted_, std::memory_order_relaxed);
    input_.progress.bytes_done.fetch_add(bytes_noted_, std::memory_order_relaxed);
    items_noted_ = bytes_noted_ = 0;
}

bool WalkWorker::save_blob(BlobType type, ByteView plaintext, BlobId& id, std::uint64_t* stored) {
    auto saved = input_.sink.save(type, plaintext);
    if (!saved.ok()) {
        walk_.queue.fail(std::move(saved).error());
        return false;
    }
    id = saved->id;
    if (stored != nullptr) *stored = saved->stored_bytes;
    if (saved->is_new && is_read_back(id, input_.read_back_percent) &&
        read_back_.size() < kMostReadBack)
        read_back_.push_back({type, id});
    return true;
}

}  // namespace backup
