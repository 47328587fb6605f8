#include "daemon/history/history_index.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "common/log.h"
#include "daemon/history/feeder.h"
#include "daemon/history/line.h"
#include "daemon/history/store.h"

namespace backup {

using namespace history;

namespace {

// Sweeping reads the whole line.
constexpr std::uint64_t kGoneBeforeSweep = 64;
// Paths of directories that are kept while a search runs.
constexpr std::size_t kMostPaths = 50'000;

Error no_such_path(const Path& path) {
    return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                 "no revision has " + printable(path.text()));
}

// A new number for a line; what there was under the old one is given up.
Result<LineRecord> begin_line(HistoryStore& store, const LineName& name,
                              const std::optional<LineRecord>& old) {
    std::string value;
    LineRecord line;
    line.id = 1;
    {
        HistoryStore::View view(store);
        if (TRY(view.get("c", value))) {
            if (value.size() != 4) return damaged();
            line.id = load_be32(value);
        }
    }
    HistoryStore::Batch batch;
    if (old) batch.put(number_key('x', old->id), "");
    batch.put("c", number_key('c', line.id + 1).substr(1));
    batch.put("l" + name.key(), encode(line));
    TRY(store.write(batch));
    return line;
}

// Two that are sorted alike stand in the order in which they were fed.
bool comes_too_late(const LineRevision& revision, const LineRecord& line) {
    return std::tie(revision.number, revision.time) < std::tie(line.last_number, line.last_time);
}

// From numbers of directories to what is known of them.
class Directories {
  public:
    Directories(const HistoryStore::View& view, LineId line) : view_(view), line_(line) {}

    Result<const std::string*> path_of(DirectoryId id) {
        if (auto found = paths_.find(id); found != paths_.end()) return &found->second;
        std::vector<std::pair<DirectoryId, std::string>> chain;
        std::string path;
        for (DirectoryId at = id;;) {
            if (auto found = paths_.find(at); found != paths_.end()) {
                path = found->second;
                break;
            }
            if (at == kRoot) {
                path = "/";
                break;
            }
            DirectoryRecord record = TRY(read(at));
            // Parents are numbered before their children, so this ends.
            if (record.parent == 0 || record.parent >= at) return damaged();
            chain.emplace_back(at, std::move(record.name));
            at = record.parent;
        }
        if (paths_.size() > kMostPaths) paths_.clear();
        for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
            if (path.size() > 1) path += '/';
            path += at->second;
            paths_[at->first] = path;
        }
        if (chain.empty()) paths_[id] = path;
        return &paths_[id];
    }

    // The number of a directory, or nothing when no revision had one there.
    Result<std::optional<DirectoryId>> find(const Path& path) {
        DirectoryId at = kRoot;
        for (std::string_view name : path.components()) {
            std::string value;
            if (!TRY(view_.get(name_key(line_, at, name), value)))
                return std::optional<DirectoryId>();
            NameRecord record;
            if (!decode(value, record)) return damaged();
            if (record.directory == 0) return std::optional<DirectoryId>();
            at = record.directory;
        }
        return std::optional(at);
    }

    // Of all directories: whether it is `top` or below it.
    Result<std::vector<bool>> inside(DirectoryId top, DirectoryId end) {
        std::vector<bool> verdict(end, false);
        if (top < end) verdict[top] = true;
        auto cursor = view_.cursor(number_key('d', line_));
        for (; cursor.valid(); cursor.next()) {
            DirectoryRecord record;
            if (cursor.key().size() != 4 || !decode(cursor.value(), record)) return damaged();
            const DirectoryId id = load_be32(cursor.key());
            if (id < end && record.parent < id && verdict[record.parent]) verdict[id] = true;
        }
        TRY(cursor.status());
        return verdict;
    }

  private:
    Result<DirectoryRecord> read(DirectoryId id) {
        std::string value;
        DirectoryRecord record;
        if (!TRY(view_.get(number_key('d', line_, id), value)) || !decode(value, record))
            return damaged();
        return record;
    }

    const HistoryStore::View& view_;
    const LineId line_;
    std::unordered_map<DirectoryId, std::string> paths_;
};

// One search of one line.
class Search {
  public:
    Search(const HistoryStore::View& view, const VisibleLine& line, const HistoryQuery& query,
           const std::function<Result<>(const FoundPath&)>& each)
        : view_(view),
          line_(line),
          query_(query),
          each_(each),
          directories_(view, line.record.id),
          older_(view.cursor(number_key('v', line.record.id))) {
        if (!query.at) return;
        at_ = 0;
        // Not the first later one ends it: a clock may have been set back.
        for (std::size_t i = 0; i < line.revisions.size(); ++i)
            if (line.revisions[i].record.time <= *query.at) at_ = i + 1;
    }

    Result<> run(const std::stop_token& stop) {
        if (query_.at && *at_ == 0) return {};
        DirectoryId top = kRoot;
        std::vector<bool> inside;
        if (query_.below) {
            auto found = TRY(directories_.find(*query_.below));
            if (!found) return no_such_path(*query_.below);
            top = *found;
            if (!query_.entries_only && top != kRoot)
                inside = TRY(directories_.inside(top, line_.record.next_directory));
        }
        std::string prefix = query_.entries_only ? number_key('n', line_.record.id, top)
                                                 : number_key('n', line_.record.id);
        auto cursor = view_.cursor(prefix);
        for (std::uint64_t count = 0; cursor.valid(); cursor.next(), ++count) {
            if (count % 4096 == 0 && stop.stop_requested())
                return Error(ErrorKind::cancelled, ErrorCode::cancelled, "stopped");
            std::string_view key = cursor.key();
            DirectoryId directory = top;
            if (!query_.entries_only) {
                if (key.size() < 5) return damaged();
                directory = load_be32(key);
                key.remove_prefix(4);
            }
            if (!inside.empty() && (directory >= inside.size() || !inside[directory])) continue;
            TRY(look_at(directory, key, cursor.value()));
        }
        return cursor.status();
    }

  private:
    Result<> look_at(DirectoryId directory, std::string_view name, std::string_view value) {
        bool has_path = false;
        std::optional<Error> problem;
        const auto path = [&]() -> const std::string& {
            if (has_path) return path_;
            auto parent = directories_.path_of(directory);
            if (!parent.ok()) problem = std::move(parent).error();
            path_ = parent.ok() ? **parent : std::string("/");
            if (path_.size() > 1) path_ += '/';
            path_ += name;
            has_path = true;
            return path_;
        };
        NameRecord record;
        if (!decode(value, record)) return damaged();
        const bool wanted = query_.wants(name, record.version.kind == 'd', path);
        if (problem) return *problem;
        if (!wanted) return {};
        auto stretches =
            timeline(TRY(versions_of(older_, directory, name, record)), line_.ordinals);
        const bool passes = choose(stretches);
        if (!passes) return {};
        (void)path();
        if (problem) return *problem;
        return each_({path_, std::move(chosen_), deleted_, there_, gone_});
    }

    // Which of the stretches is to be told, if any.
    bool choose(std::vector<Stretch>& stretches) {
        if (query_.at)
            while (!stretches.empty() && stretches.back().first >= *at_) stretches.pop_back();
        if (stretches.empty()) return false;
        if (query_.since && line_.revisions[stretches.back().first].record.time < *query_.since)
            return false;
        deleted_ = stretches.back().deleted;
        if (query_.deleted_only && !deleted_) return false;
        if (query_.at && deleted_ && !query_.deleted_only) return false;
        if (deleted_) {
            gone_ = line_.point(stretches.back().first);
            stretches.pop_back();
        }
        // Told as the newest revision has it: that one will be there the longest.
        chosen_ = std::move(line_.dated({stretches.back()}).front());
        there_ = query_.at && !deleted_ ? line_.point(*at_ - 1) : chosen_.last;
        return true;
    }

    const HistoryStore::View& view_;
    const VisibleLine& line_;
    const HistoryQuery& query_;
    const std::function<Result<>(const FoundPath&)>& each_;
    Directories directories_;
    HistoryStore::Cursor older_;
    std::optional<std::size_t> at_;  // one more than the revision's position; 0: there is none
    std::string path_;
    PathVersion chosen_;
    bool deleted_ = false;
    RevisionPoint there_, gone_;
};

}  // namespace

std::string LineName::key() const {
    std::string key = repository + '\0' + host + '\0' + set;
    for (const std::string& path : paths) key += '\0' + path;
    return key;
}

std::optional<LineName> LineName::parse(std::string_view key) {
    std::vector<std::string> parts;
    for (;;) {
        const std::size_t end = key.find('\0');
        parts.emplace_back(key.substr(0, end));
        if (end == std::string_view::npos) break;
        key.remove_prefix(end + 1);
    }
    if (parts.size() < 3) return std::nullopt;
    return LineName{parts[0], parts[1], parts[2], {parts.begin() + 3, parts.end()}};
}

bool comes_before(const LineRevision& a, const LineRevision& b) {
    return std::tie(a.number, a.time, a.identity) < std::tie(b.number, b.time, b.identity);
}

HistoryIndex::HistoryIndex(std::string folder, HistoryOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {}
HistoryIndex::~HistoryIndex() = default;

// One update at a time; whoever waits can be stopped.
class HistoryIndex::Turn {
  public:
    Turn(HistoryIndex& index, std::stop_token stop) : index_(index) {
        std::unique_lock lock(index_.feeding_);
        is_mine_ = index_.fed_.wait(lock, std::move(stop), [this] { return !index_.is_feeding_; });
        if (is_mine_) index_.is_feeding_ = true;
    }
    ~Turn() {
        if (!is_mine_) return;
        std::lock_guard lock(index_.feeding_);
        index_.is_feeding_ = false;
        index_.fed_.notify_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    bool is_mine() const { return is_mine_; }

  private:
    HistoryIndex& index_;
    bool is_mine_ = false;
};

Result<> HistoryIndex::ready() {
    std::unique_lock alone(opened_);
    if (store_) return {};
    auto opened = HistoryStore::open(folder_);
    if (!opened.ok() && opened.error().kind() == ErrorKind::corrupt) {
        log_notice(opened.error().message() + ": it is made anew");
        TRY(HistoryStore::destroy(folder_));
        opened = HistoryStore::open(folder_);
    }
    if (!opened.ok()) return std::move(opened).error();
    store_ = std::move(*opened);
    return {};
}

void HistoryIndex::throw_away(const Error& why) {
    std::unique_lock alone(opened_);
    log_notice(why.message() + ": it is made anew");
    store_.reset();
    if (auto gone = HistoryStore::destroy(folder_); !gone.ok()) log_warning(gone.error().message());
}

template <typename T>
Result<T> HistoryIndex::with_store(const std::function<Result<T>(HistoryStore&)>& work) {
    for (;;) {
        std::shared_lock in_use(opened_);
        if (!store_) {
            in_use.unlock();
            TRY(ready());
            continue;
        }
        Result<T> done = work(*store_);
        // What a repository has wrong is not told as an error from here.
        if (done.ok() || done.error().kind() != ErrorKind::corrupt) return done;
        in_use.unlock();
        throw_away(done.error());
        return Error(ErrorKind::transient, "the index of history was damaged and is made anew");
    }
}

Result<HistoryIndex::Update> HistoryIndex::update(const LineName& name,
                                                  std::vector<LineRevision> revisions,
                                                  BlobSource& blobs, std::stop_token stop) {
    std::ranges::sort(revisions, comes_before);
    const Turn turn(*this, stop);
    if (!turn.is_mine())
        return Error(ErrorKind::cancelled, ErrorCode::cancelled, "feeding was stopped");
    return with_store<Update>(
        [&](HistoryStore& store) { return feed(store, name, revisions, blobs, stop); });
}

Result<HistoryIndex::Update> HistoryIndex::feed(HistoryStore& store, const LineName& name,
                                                std::vector<LineRevision>& revisions,
                                                BlobSource& blobs, const std::stop_token& stop) {
    Update update;
    const std::string line_key = "l" + name.key();
    std::optional<LineRecord> known_line;
    std::map<RevisionId, FedRevision> known;
    {
        HistoryStore::View view(store);
        known_line = TRY(read_line(view, name));
        if (known_line)
            for (FedRevision& one : TRY(read_revisions(view, *known_line)))
                known.emplace(one.record.identity, std::move(one));
    }
    const bool in_between =
        known_line && std::ranges::any_of(revisions, [&](const auto& one) {
            return !known.contains(one.identity) && comes_too_late(one, *known_line);
        });
    if (in_between) {
        known.clear();
        update.rebuilt = true;
    }
    LineRecord line =
        known_line && !in_between ? *known_line : TRY(begin_line(store, name, known_line));

    // What is said of revisions that are in the index already.
    HistoryStore::Batch batch;
    bool differs = false;
    std::set<RevisionId> fed;  // one identity, one revision
    for (const auto& [identity, one] : known) fed.insert(identity);
    for (const LineRevision& one : revisions) {
        auto found = known.find(one.identity);
        if (found == known.end()) continue;
        const RevisionRecord now{one.identity, one.id, one.number, one.time, one.hidden};
        if (now != found->second.record) {
            batch.put(number_key('r', line.id, found->second.ordinal), encode(now));
            differs = true;
        }
        known.erase(found);
    }
    for (const auto& [identity, gone] : known) {
        batch.remove(number_key('r', line.id, gone.ordinal));
        ++line.gone;
        differs = true;
    }
    if (differs) {
        batch.put(line_key, encode(line));
        TRY(store.write(batch));
    }

    const Feeder::Options feeding{options_.batch_bytes, options_.after_batch};
    for (const LineRevision& one : revisions) {
        if (!fed.insert(one.identity).second) continue;
        const Ordinal ordinal = line.next++;
        if (ordinal == std::numeric_limits<Ordinal>::max()) return damaged();
        Feeder feeder(store, line_key, line, ordinal, blobs, batch, feeding, stop);
        TRY(feeder.run(one.tree));
        line.fed = ordinal;
        line.last_number = one.number;
        line.last_time = one.time;
        batch.put(number_key('r', line.id, ordinal),
                  encode(RevisionRecord{one.identity, one.id, one.number, one.time, one.hidden}));
        batch.put(line_key, encode(line));
        TRY(store.write(batch));
        update.damaged_directories += feeder.damaged_directories();
        ++update.revisions_fed;
    }
    if (line.gone >= kGoneBeforeSweep) {
        TRY(sweep(store, line, stop));
        line.gone = 0;
        batch.put(line_key, encode(line));
        TRY(store.write(batch));
    }
    TRY(clear_given_up(store, stop));
    return update;
}

Result<> HistoryIndex::drop(const LineName& name) {
    const Turn turn(*this, {});
    return with_store<void>([&](HistoryStore& store) -> Result<> {
        std::optional<LineRecord> line;
        {
            HistoryStore::View view(store);
            line = TRY(read_line(view, name));
        }
        if (!line) return {};
        HistoryStore::Batch batch;
        batch.put(number_key('x', line->id), "");
        batch.remove("l" + name.key());
        TRY(store.write(batch));
        return clear_given_up(store, {});
    });
}

std::vector<LineName> HistoryIndex::lines() {
    auto listed =
        with_store<std::vector<LineName>>([](HistoryStore& store) -> Result<std::vector<LineName>> {
            std::vector<LineName> lines;
            HistoryStore::View view(store);
            auto cursor = view.cursor("l");
            for (; cursor.valid(); cursor.next()) {
                auto name = LineName::parse(cursor.key());
                if (!name) return damaged();
                lines.push_back(std::move(*name));
            }
            TRY(cursor.status());
            return lines;
        });
    return listed.ok() ? std::move(*listed) : std::vector<LineName>();
}

Result<std::optional<LineStatus>> HistoryIndex::status(const LineName& name) {
    return with_store<std::optional<LineStatus>>(
        [&](HistoryStore& store) -> Result<std::optional<LineStatus>> {
            HistoryStore::View view(store);
            auto line = TRY(visible_line(view, name));
            if (!line || line->record.fed == 0) return std::optional<LineStatus>();
            return std::optional(LineStatus{line->revisions.size(), line->record.last_number,
                                            line->record.last_time});
        });
}

Result<std::vector<PathVersion>> HistoryIndex::versions(const LineName& name, const Path& path) {
    return with_store<std::vector<PathVersion>>(
        [&](HistoryStore& store) -> Result<std::vector<PathVersion>> {
            HistoryStore::View view(store);
            auto line = TRY(visible_line(view, name));
            if (!line || path.is_root()) return no_such_path(path);
            Directories directories(view, line->record.id);
            auto directory = TRY(directories.find(path.parent()));
            if (!directory) return no_such_path(path);
            std::string value;
            if (!TRY(view.get(name_key(line->record.id, *directory, path.name()), value)))
                return no_such_path(path);
            NameRecord record;
            if (!decode(value, record)) return damaged();
            auto older = view.cursor(number_key('v', line->record.id));
            auto all = TRY(versions_of(older, *directory, path.name(), record));
            auto versions = line->dated(timeline(all, line->ordinals));
            if (versions.empty()) return no_such_path(path);
            std::ranges::reverse(versions);
            return versions;
        });
}

Result<> HistoryIndex::find(const LineName& name, const HistoryQuery& query,
                            const std::function<Result<>(const FoundPath&)>& each,
                            std::stop_token stop) {
    return with_store<void>([&](HistoryStore& store) -> Result<> {
        HistoryStore::View view(store);
        auto line = TRY(visible_line(view, name));
        if (!line) return {};
        return Search(view, *line, query, each).run(stop);
    });
}

void HistoryIndex::rest() {
    std::unique_lock alone(opened_, std::try_to_lock);
    if (alone.owns_lock()) store_.reset();
}

}  // namespace backup
