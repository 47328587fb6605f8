#include "daemon/tracking/tracked_set.h"

#include <algorithm>
#include <atomic>
#include <climits>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/bytes.h"
#include "common/unique_fd.h"
#include "daemon/watch/open_path.h"

namespace backup {

namespace {

// Enough for what is busy at one time; more only means to ask again.
constexpr std::size_t kMostVerdicts = 100'000;
// Records of ours beside the queue's own.
constexpr std::string_view kBaseKey = "!base";
constexpr std::string_view kHeldKey = "!held";
constexpr std::string_view kBootKey = "!boot";
constexpr std::string_view kUnprovenKey = "!unproven";
// Longer than data and stamps wait to be written, each by itself.
constexpr Duration kCrashWindow = std::chrono::seconds(120);

std::int64_t nanoseconds(const struct statx_timestamp& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

void put(std::string& out, std::string_view text) {
    out += std::to_string(text.size());
    out += ':';
    out += text;
}

bool get(std::string_view& in, std::string& text) {
    std::size_t colon = in.find(':');
    if (colon == std::string_view::npos || colon == 0 || colon > 9) return false;
    std::size_t size = 0;
    for (char digit : in.substr(0, colon)) {
        if (digit < '0' || digit > '9') return false;
        size = size * 10 + static_cast<std::size_t>(digit - '0');
    }
    if (in.size() - colon - 1 < size) return false;
    text = in.substr(colon + 1, size);
    in.remove_prefix(colon + 1 + size);
    return true;
}

bool get(std::string_view& in, std::uint64_t& number) {
    std::string text;
    if (!get(in, text) || text.empty() || text.size() > 20) return false;
    number = 0;
    for (char digit : text) {
        if (digit < '0' || digit > '9') return false;
        number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    return true;
}

std::optional<HeldState> look(int at, const char* name, int flags) {
    struct statx status;
    if (::statx(at, name, flags, STATX_BASIC_STATS, &status) != 0) return std::nullopt;
    HeldState state;
    state.device = makedev(status.stx_dev_major, status.stx_dev_minor);
    state.inode = status.stx_ino;
    state.size = status.stx_size;
    state.mtime_ns = nanoseconds(status.stx_mtime);
    state.ctime_ns = nanoseconds(status.stx_ctime);
    return state;
}

// As a number of the records.
std::string number_of(Timestamp time) {
    return std::to_string(static_cast<std::uint64_t>(time.time_since_epoch().count()));
}

bool get(std::string_view& in, Timestamp& time) {
    std::uint64_t number = 0;
    if (!get(in, number)) return false;
    time = Timestamp(Duration(static_cast<std::int64_t>(number)));
    return true;
}

std::uint64_t next_loss() {
    static std::atomic<std::uint64_t> last = 0;
    return ++last;
}

Error bad_record(std::string_view key) {
    return Error(ErrorKind::corrupt, "the record " + std::string(key) + " of the queue is damaged");
}

}  // namespace

std::optional<HeldState> held_state(const std::string& path) {
    if (path.size() < PATH_MAX) return look(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW);
    const UniqueFd object(std::max(open_path(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), -1));
    if (!object) return std::nullopt;
    return look(object.get(), "", AT_EMPTY_PATH);
}

std::optional<HeldState> held_state(int fd) {
    return look(fd, "", AT_EMPTY_PATH);
}

TrackedSet::TrackedSet(BackupSet set, Scope scope)
    : set_(std::move(set)), scope_(std::move(scope)), losses_(next_loss()) {}

std::string TrackedSet::definition_of(const BackupSet& set,
                                      const std::vector<std::string>& never_enter) {
    std::string text = "1";
    for (const Path& path : set.paths) put(text += 'p', path.text());
    for (const std::string& pattern : set.exclude.patterns) put(text += 'e', pattern);
    for (const std::string& place : never_enter)
        for (const Path& path : set.paths)
            if (is_at_or_below(place, path.text())) put(text += 'n', place);
    put(text += 'r', set.repository);
    text += set.exclude.cachedir_tag ? 'c' : '-';
    text += set.exclude.nodump ? 'd' : '-';
    text += set.exclude.other_filesystems ? 'x' : '-';
    text += std::to_string(set.exclude.larger_than);
    return text;
}

const TrackedSet::Verdict& TrackedSet::verdict(const VolumeId& volume,
                                               const ObjectHandle& directory,
                                               const Resolver& resolver) {
    std::string key = volume + '\0' + directory;
    auto found = verdicts_.find(key);
    if (found != verdicts_.end()) return found->second;
    if (verdicts_.size() >= kMostVerdicts) verdicts_.clear();
    Verdict verdict;
    if (auto path = resolver.path_of(directory)) {
        verdict.place = scope_.of_directory(*path);
        verdict.path = std::move(*path);
    } else if (resolver.is_on_its_way && resolver.is_on_its_way(directory)) {
        // Where it is, is asked again when somebody looks.
        verdict.place = Scope::Place::inside;
    }
    return verdicts_.emplace(std::move(key), std::move(verdict)).first->second;
}

void TrackedSet::absorb(const VolumeId& volume, const WatchBatch& batch, const Resolver& resolver,
                        Timestamp now) {
    using Place = Scope::Place;
    // Where a directory is may have changed with any move in this batch.
    if (!batch.moves.empty() || !batch.lost.empty() || batch.gone) verdicts_.clear();
    WatchBatch mine;
    const ObjectHandle* last = nullptr;
    const Verdict* at = nullptr;
    for (const WatchBatch::Name& name : batch.names) {
        if (last == nullptr || *last != name.directory) {
            at = &verdict(volume, name.directory, resolver);
            last = &name.directory;
        }
        if (at->path.empty() && at->place == Place::inside) {
            mine.names.push_back(name);
            continue;
        }
        if (at->path.empty() || at->place == Place::outside) {
            // A name out there may be another name of a file of the set.
            if (!name.object.empty() && resolver.has_other_names(name.object))
                mine.objects.push_back(name.object);
            continue;
        }
        std::string path = join_path(at->path, name.name);
        bool leads_to_target = scope_.of_directory(path) != Place::outside;
        if (scope_.of_file(path) != Place::inside && !leads_to_target) continue;
        mine.names.push_back(name);
        // Written through a name that is gone by now (the writer has it open still), or that
        // another file has: it may have other names, which nobody tells.
        if (!name.object.empty() && resolver.leads_to &&
            !resolver.leads_to(name.directory, name.name, name.object) &&
            resolver.exists(name.object))
            mine.objects.push_back(name.object);
    }
    for (const WatchBatch::DirectoryMove& move : batch.moves)
        absorb_move(volume, move, resolver, mine, now);
    for (const ObjectHandle& directory : batch.directories)
        if (verdict(volume, directory, resolver).place == Place::inside)
            mine.directories.push_back(directory);
    for (const ObjectHandle& directory : batch.relist) {
        const Verdict& place = verdict(volume, directory, resolver);
        if (place.place == Place::inside) mine.relist.push_back(directory);
        // Names that lead to the set's paths may be among what was too much to tell.
        if (place.place == Place::above) need_scan("many changes beside the paths of the set", now);
    }
    for (const ObjectHandle& object : batch.objects)
        if (resolver.exists(object)) mine.objects.push_back(object);
    mine.records = batch.records;
    if (!mine.empty()) queue_.absorb(volume, mine, now);
    if (!batch.lost.empty()) need_scan(batch.lost, now);
}

void TrackedSet::absorb_move(const VolumeId& volume, const WatchBatch::DirectoryMove& move,
                             const Resolver& resolver, WatchBatch& mine, Timestamp now) {
    using Kind = WatchBatch::DirectoryMove::Kind;
    using Place = Scope::Place;
    bool is_sure = true;
    auto place_of = [&](const ObjectHandle& directory, const std::string& name) {
        if (directory.empty()) return Place::outside;
        const Verdict& at = verdict(volume, directory, resolver);
        if (at.path.empty() && at.place == Place::inside) is_sure = false;
        if (at.path.empty() || at.place == Place::outside) return at.place;
        return scope_.of_directory(join_path(at.path, name));
    };
    Place to = place_of(move.to_directory, move.to_name);
    if (move.kind == Kind::born) {
        if (to == Place::inside) mine.moves.push_back(move);
        return;
    }
    Place from =
        move.kind == Kind::moved ? place_of(move.from_directory, move.from_name) : Place::outside;
    if (from == Place::above || to == Place::above) {
        need_scan("a directory above the paths of the set was renamed", now);
        return;
    }
    if (to == Place::inside) {
        WatchBatch::DirectoryMove arrival = move;
        if (from != Place::inside || !is_sure) arrival.kind = Kind::arrived;
        mine.moves.push_back(std::move(arrival));
        return;
    }
    if (from != Place::inside) return;
    // What happens to it out there is not recorded, and it may come back.
    WatchBatch::Name gone;
    gone.directory = move.from_directory;
    gone.name = move.from_name;
    mine.names.push_back(std::move(gone));
    queue_.mark_left_scope(volume);
}

void TrackedSet::need_scan(std::string reason, Timestamp now) {
    if (scan_reason_.empty()) scan_since_ = now;
    scan_reason_ = std::move(reason);
    losses_ = next_loss();
}

void TrackedSet::compared(std::uint64_t losses) {
    if (losses != losses_) return;
    // A comparison goes by paths: it tells that a renamed directory is new in its place, and
    // nothing of what is below it.
    queue_.distrust_origins();
    scan_reason_.clear();
}

void TrackedSet::superseded(std::uint64_t losses, Timestamp now) {
    if (losses == losses_ || needs_scan()) return;
    need_scan("changes were lost while the last revision was made", now);
}

void TrackedSet::note_held(const std::vector<HeldFile>& held,
                           const std::function<std::optional<std::pair<VolumeId, ObjectHandle>>(
                               const std::string& directory)>& place_of,
                           Timestamp now) {
    std::map<std::string, HeldState> present;
    auto mark = [&](const std::string& path, bool must_read) {
        std::size_t slash = path.rfind('/');
        if (slash == std::string::npos) return;
        std::string directory = slash == 0 ? "/" : path.substr(0, slash);
        // A path of the set that is a file is looked at by every run, but not always read.
        if (scope_.of_directory(directory) != Scope::Place::inside && !scope_.is_path(path)) return;
        auto place = place_of(directory);
        if (place)
            queue_.mark_name(place->first, place->second, path.substr(slash + 1), true, must_read,
                             now);
    };
    for (const HeldFile& file : held) {
        if (scope_.of_file(file.path) != Scope::Place::inside) continue;
        auto state = held_state(file.path);
        if (!state || state->inode != file.inode) continue;  // deleted, or another file by now
        auto before = held_.find(file.path);
        // A store into a page that was dirty when the file was last read does not move ctime: the
        // first sight of a writer asks for a reading whatever the stamps say.
        if (before == held_.end() || before->second.inode != state->inode)
            mark(file.path, true);
        else if (before->second != *state)
            mark(file.path, false);
        present.emplace(file.path, *state);
    }
    for (const auto& [path, state] : held_)
        if (!present.contains(path)) mark(path, true);
    if (present != held_) {
        held_ = std::move(present);
        base_.held = held_;
        is_base_changed_ = true;
    }
}

std::vector<std::string> TrackedSet::held_files() const {
    std::vector<std::string> paths;
    paths.reserve(held_.size());
    for (const auto& [path, state] : held_) paths.push_back(path);
    return paths;
}

void TrackedSet::begin_serving(const std::string& boot, Timestamp now) {
    bool is_crash = !base_.revision.empty() && !base_.boot.empty() && base_.boot != boot;
    if (is_crash) {
        // The clock may have been set back since the revision.
        Timestamp since = std::min(base_.began, now) - kCrashWindow;
        if (!base_.unproven) base_.unproven = Base::Unproven{since, {}};
        base_.unproven->since = std::min(base_.unproven->since, since);
        for (const auto& [path, state] : base_.held) base_.unproven->paths.insert(path);
        queue_.read_what_is_marked();
    }
    if (base_.boot == boot) return;
    base_.boot = boot;
    is_base_changed_ = true;
}

void TrackedSet::stop_serving() {
    base_.boot.clear();
    is_base_changed_ = true;
}

bool TrackedSet::has_records() const {
    return is_base_changed_ || queue_.has_records();
}

std::vector<QueueRecord> TrackedSet::take_records() {
    std::vector<QueueRecord> records = queue_.take_records();
    if (is_base_changed_) add_base(records);
    return records;
}

std::vector<QueueRecord> TrackedSet::all_records() {
    std::vector<QueueRecord> records = queue_.all_records();
    add_base(records);
    return records;
}

void TrackedSet::add_base(std::vector<QueueRecord>& records) {
    is_base_changed_ = false;
    std::string base;
    put(base, base_.revision);
    put(base, base_.definition);
    put(base, base_.resumable);
    for (const auto& [place, volume] : base_.places) {
        put(base, place);
        put(base, volume);
    }
    records.push_back({std::string(kBaseKey), std::move(base)});
    std::string held;
    for (const auto& [path, state] : held_) {
        put(held, path);
        for (std::uint64_t number :
             {state.device, state.inode, state.size, static_cast<std::uint64_t>(state.mtime_ns),
              static_cast<std::uint64_t>(state.ctime_ns)})
            put(held, std::to_string(number));
    }
    records.push_back({std::string(kHeldKey), std::move(held)});
    std::string boot;
    put(boot, base_.boot);
    put(boot, number_of(base_.began));
    records.push_back({std::string(kBootKey), std::move(boot)});
    std::optional<std::string> unproven;
    if (base_.unproven) {
        put(unproven.emplace(), number_of(base_.unproven->since));
        for (const std::string& path : base_.unproven->paths) put(*unproven, path);
    }
    records.push_back({std::string(kUnprovenKey), std::move(unproven)});
}

Result<> TrackedSet::load(const std::vector<QueueRecord>& records) {
    std::vector<QueueRecord> marks;
    Base base;
    for (const QueueRecord& record : records) {
        if (!record.key.starts_with('!')) {
            marks.push_back(record);
            continue;
        }
        std::string_view in = record.value ? std::string_view(*record.value) : std::string_view();
        if (record.key == kBaseKey) {
            if (!get(in, base.revision) || !get(in, base.definition) || !get(in, base.resumable))
                return bad_record(record.key);
            std::string place, volume;
            while (!in.empty()) {
                if (!get(in, place) || !get(in, volume)) return bad_record(record.key);
                base.places[place] = volume;
            }
        } else if (record.key == kHeldKey) {
            while (!in.empty()) {
                std::string path;
                HeldState state;
                std::uint64_t mtime = 0, ctime = 0;
                if (!get(in, path) || !get(in, state.device) || !get(in, state.inode) ||
                    !get(in, state.size) || !get(in, mtime) || !get(in, ctime))
                    return bad_record(record.key);
                state.mtime_ns = static_cast<std::int64_t>(mtime);
                state.ctime_ns = static_cast<std::int64_t>(ctime);
                base.held.emplace(std::move(path), state);
            }
        } else if (record.key == kBootKey) {
            if (!get(in, base.boot) || !get(in, base.began)) return bad_record(record.key);
        } else if (record.key == kUnprovenKey && record.value) {
            Base::Unproven unproven;
            if (!get(in, unproven.since)) return bad_record(record.key);
            std::string path;
            while (!in.empty()) {
                if (!get(in, path)) return bad_record(record.key);
                unproven.paths.insert(path);
            }
            base.unproven = std::move(unproven);
        }
    }
    queue_ = TRY(ChangeQueue::load(marks));
    held_ = base.held;
    base_ = std::move(base);
    return {};
}

}  // namespace backup
