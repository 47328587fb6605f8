#include "daemon/ipc/explanation.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>

#include "common/unique_fd.h"
#include "daemon/ipc/live_facts.h"
#include "daemon/jobs/catalog.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

// Of a directory: more names than this are told as "and more".
constexpr std::size_t kMostBelow = 10'000;

Timestamp time_of(std::int64_t seconds, std::uint32_t nanoseconds) {
    constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000 - 1;
    return Timestamp(std::chrono::seconds(std::clamp(seconds, -kMost, kMost)) +
                     std::chrono::nanoseconds(nanoseconds));
}

std::string type_of(std::uint32_t mode) {
    if (S_ISREG(mode)) return "file";
    if (S_ISDIR(mode)) return "directory";
    if (S_ISLNK(mode)) return "symlink";
    if (S_ISFIFO(mode)) return "fifo";
    if (S_ISSOCK(mode)) return "socket";
    return "device";
}

std::string type_of(NodeType type) {
    switch (type) {
        case NodeType::file:
            return "file";
        case NodeType::dir:
            return "directory";
        case NodeType::symlink:
            return "symlink";
        case NodeType::fifo:
            return "fifo";
        case NodeType::socket:
            return "socket";
        case NodeType::dev:
        case NodeType::chardev:
            return "device";
        case NodeType::irregular:
        case NodeType::unknown:
            return "unknown";
    }
    return "unknown";
}

struct Live {
    bool exists = false;
    struct statx status {};
};

// What the newest revision has under that path.
struct Stored {
    std::optional<VersionFound> version;
    std::optional<Node> node;
    bool any_revision = false;
    Timestamp revision_time{};
};

Result<Stored> stored_version(RepositoryPool& pool, const BackupSet& set, const Path& path) {
    Stored stored;
    RepositoryHandle opened = TRY(pool.open(set.repository));
    Repository& repository = *opened->repository;
    auto newest =
        resolve_revision(all_revisions(TRY(repository.list_revisions())), line_of(set), "latest");
    if (!newest.ok()) {
        if (newest.error().code() == ErrorCode::no_such_revision) return stored;
        return std::move(newest).error();
    }
    stored.any_revision = true;
    stored.revision_time = newest->snapshot().time;
    TRY(repository.refresh_index({}));
    auto found = find_node(repository, newest->snapshot().tree, path.text());
    if (!found.ok()) {
        if (found.error().code() == ErrorCode::no_such_path) return stored;
        return std::move(found).error();
    }
    const Node& node = found->node;
    stored.version = VersionFound{newest->id().hex(),
                                  newest->tags.number,
                                  newest->snapshot().time,
                                  type_of(node.type),
                                  node.size,
                                  time_of(node.mtime.seconds, node.mtime.nanoseconds)};
    stored.node = std::move(found->node);
    return stored;
}

// What differs without a look at the content.
bool differs(const Node& node, const struct statx& status) {
    if ((node.unix_mode() & S_IFMT) != (status.stx_mode & S_IFMT)) return true;
    // A directory's own times change with its entries: those are asked for one by one.
    if (S_ISDIR(status.stx_mode)) return false;
    return node.mtime.seconds != status.stx_mtime.tv_sec ||
           node.mtime.nanoseconds != status.stx_mtime.tv_nsec ||
           (S_ISREG(status.stx_mode) && node.size != status.stx_size);
}

bool differs_in_metadata(const Node& node, const struct statx& status) {
    return (node.unix_mode() & 07777) != (status.stx_mode & 07777u) || node.uid != status.stx_uid ||
           node.gid != status.stx_gid;
}

class Explainer {
  public:
    Explainer(const ExplainTask& task, const Path& path)
        : task_(task), fs_(task.fs != nullptr ? *task.fs : RealFs::instance()), path_(path) {}

    Explanation run() {
        Explanation all;
        all.path = path_;
        const int error = -fs_.status(AT_FDCWD, path_.c_str(), AT_SYMLINK_NOFOLLOW, live_.status);
        live_.exists = error <= 0;
        if (error > 0 && error != ENOENT && error != ENOTDIR)
            all.problem = std::generic_category().message(error);
        can_tell_ = live_.exists || all.problem.empty();
        all.exists = live_.exists;
        if (live_.exists) {
            all.type = type_of(live_.status.stx_mode);
            all.size = S_ISREG(live_.status.stx_mode) ? live_.status.stx_size : 0;
            all.modified = time_of(live_.status.stx_mtime.tv_sec, live_.status.stx_mtime.tv_nsec);
        }
        for (const auto& [id, set] : task_.policy->sets)
            if (auto one = in_set(set)) all.sets.push_back(std::move(*one));
        all.state = best_of(all);
        return all;
    }

  private:
    std::optional<PathInSetNow> in_set(const BackupSet& set) {
        PathInSetNow now;
        now.set = set.id;
        auto place = find_in_set(set, path_, task_.own, [&](const std::string& name) {
            return live_facts(fs_, name, set.exclude.cachedir_tag);
        });
        if (!place.ok() || !place->root) return std::nullopt;
        now.place = std::move(*place);
        if (task_.tracker != nullptr) now.tracking = task_.tracker->status(set.id);
        if (auto facts = task_.sets.find(set.id); facts != task_.sets.end()) {
            now.blocked_by = facts->second.blocked_by;
            now.next_run = facts->second.next_run;
            for (const GuardQuestion* question : facts->second.guard.questions())
                if (question->is_open() && now.question.empty()) now.question = question->message;
        }
        auto stored = stored_version(*task_.pool, set, path_);
        if (!stored.ok()) now.version_problem = stored.error().message();
        if (stored.ok()) now.version = stored->version;
        if (now.place.excluded) {
            now.state = PathState::excluded;
            return now;
        }
        if (is_away(now.tracking)) {
            // What is there, or not there, now says nothing: what the last revision has is kept.
            now.state = now.version ? PathState::protected_ : PathState::unknown;
            add_blocks(set, now);
            return now;
        }
        ask_tracker(set, now);
        if (stored.ok()) compare(*stored, now);
        now.state = state_of(now, stored.ok());
        const bool is_in = stored.ok() && stored->node && live_.exists &&
                           !S_ISDIR(live_.status.stx_mode) && !differs(*stored->node, live_.status);
        if (now.state == PathState::pending && !is_in) find_limit(set, now);
        add_blocks(set, now);
        return now;
    }

    // Of this path alone only the limit of one file can be told; others are of the whole set, and
    // of its last run.
    void find_limit(const BackupSet& set, PathInSetNow& now) const {
        const auto facts = task_.sets.find(set.id);
        if (facts == task_.sets.end()) return;
        SetRecord record = facts->second.record;
        const std::uint64_t most =
            std::max(set.limits.hard.file_size, now.version ? now.version->size : 0);
        if (set.limits.hard.file_size != 0 && live_.exists && S_ISREG(live_.status.stx_mode) &&
            live_.status.stx_size > most)
            record.limits_hit = "file-size";
        else if (record.limits_hit == "file-size")
            return;
        for (LimitNow& limit :
             limits_over(set, record, facts->second.revisions, SystemClock().now())) {
            if (!limit.is_hard) return;
            // Whether it is this one: a run that left something out was made since it changed.
            if (limit.name != "file-size" && limit.name != "revisions" && live_.exists &&
                time_of(live_.status.stx_ctime.tv_sec, live_.status.stx_ctime.tv_nsec) >
                    record.last_success)
                continue;
            now.limit = std::move(limit);
            return;
        }
    }

    bool is_tracked(const PathInSetNow& now) const {
        return task_.tracker != nullptr && now.tracking.state != TrackingState::off;
    }

    // Its file system is not mounted.
    bool is_away(const TrackingStatus& tracking) const {
        return std::ranges::any_of(tracking.volumes, [&](const VolumeStatus& volume) {
            if (volume.state != "away") return false;
            auto place = Path::parse(volume.place);
            return place.ok() && path_.is_inside(*place);
        });
    }

    void ask_tracker(const BackupSet& set, PathInSetNow& now) {
        if (!is_tracked(now)) return;
        if (auto entry = task_.tracker->pending(set.id, path_.text()); entry.ok())
            now.pending = std::move(*entry);
        if (!live_.exists || !S_ISDIR(live_.status.stx_mode) || now.tracking.pending == 0) return;
        auto waiting = task_.tracker->queue(set.id, kMostBelow);
        if (!waiting.ok()) return;
        now.more_below = waiting->size() >= kMostBelow;
        for (const QueueEntry& entry : *waiting) {
            auto at = Path::parse(entry.path);
            if (at.ok() && at->is_inside(path_) && *at != path_) ++now.pending_below;
        }
    }

    // The tracker should know all of this; where it is off or may have missed something, the
    // comparison says it.
    void compare(const Stored& stored, PathInSetNow& now) {
        // The tracker goes by the time of birth, which a rename into the set does not change.
        if (now.pending && live_.exists && now.pending->kind == "created" && stored.node)
            now.pending->kind = "modified";
        if (now.pending && live_.exists && now.pending->kind == "modified" && stored.any_revision &&
            !stored.node)
            now.pending->kind = "created";
        if (now.pending || !can_tell_) return;
        const auto wait = [&](const char* kind, Timestamp since) {
            now.pending = QueueEntry{};
            now.pending->path = path_.text();
            now.pending->kind = kind;
            now.pending->since = since;
            now.pending->bytes =
                live_.exists && S_ISREG(live_.status.stx_mode) ? live_.status.stx_size : 0;
        };
        if (!live_.exists) {
            // When it went is not known: after the revision that has it.
            if (stored.node) wait("deleted", stored.revision_time);
            return;
        }
        const Timestamp changed =
            time_of(live_.status.stx_ctime.tv_sec, live_.status.stx_ctime.tv_nsec);
        if (!stored.node) {
            wait("created", changed);
        } else if (differs(*stored.node, live_.status)) {
            wait("modified", changed);
        } else if (differs_in_metadata(*stored.node, live_.status)) {
            wait("metadata", changed);
        }
    }

    PathState state_of(const PathInSetNow& now, bool repository_answers) const {
        if (now.pending || now.pending_below > 0) return PathState::pending;
        if (!repository_answers || !can_tell_) return PathState::unknown;
        if (!live_.exists && !now.version) return PathState::missing;
        // Nobody watches what is below, and one look at the directory does not tell.
        if (S_ISDIR(live_.status.stx_mode) && now.tracking.state != TrackingState::live)
            return PathState::unknown;
        return PathState::protected_;
    }

    void add_blocks(const BackupSet& set, PathInSetNow& now) const {
        auto& blocks = now.blocked_by;
        if (!set.enabled) blocks.insert(blocks.begin(), "disabled");
        if (set.enabled && !set.automatic && set.interval_seconds == 0)
            blocks.insert(blocks.begin(), "by-hand");
        if (now.tracking.state != TrackingState::live)
            blocks.push_back(std::string("tracking-") + to_string(now.tracking.state));
        if (now.limit) blocks.push_back("limit");
        if (now.pending && now.pending->is_held) blocks.push_back("held");
    }

    PathState best_of(const Explanation& all) const {
        if (all.sets.empty())
            return live_.exists || !can_tell_ ? PathState::outside : PathState::missing;
        // One set that has it is enough.
        static constexpr PathState kOrder[] = {PathState::protected_, PathState::pending,
                                               PathState::unknown, PathState::excluded,
                                               PathState::missing};
        for (PathState state : kOrder)
            for (const PathInSetNow& set : all.sets)
                if (set.state == state) return state;
        return PathState::unknown;
    }

    const ExplainTask& task_;
    Fs& fs_;
    const Path path_;
    Live live_;
    bool can_tell_ = false;  // whether it exists
};

void put(wire::Dict& dict, const char* key, const std::string& text) {
    if (!text.empty()) dict.push_back({key, text});
}
void put(wire::Dict& dict, const char* key, const std::optional<Timestamp>& time) {
    if (time) dict.push_back({key, to_usec(*time)});
}

wire::Dict rule_dict(const RuleFound& rule) {
    wire::Dict dict = {{"path", wire::FileName{rule.path}}, {"rule", rule.rule}};
    if (!rule.pattern.empty()) dict.push_back({"pattern", wire::FileName{rule.pattern}});
    if (!rule.origin.empty()) dict.push_back({"origin", wire::FileName{rule.origin}});
    return dict;
}

}  // namespace

const char* to_string(PathState state) {
    switch (state) {
        case PathState::protected_:
            return "protected";
        case PathState::pending:
            return "pending";
        case PathState::excluded:
            return "excluded";
        case PathState::outside:
            return "outside";
        case PathState::missing:
            return "missing";
        case PathState::unknown:
            return "unknown";
    }
    return "unknown";
}

Explanation explain(const ExplainTask& task, const Path& path) {
    return Explainer(task, path).run();
}

wire::Dict explanation_dict(const Explanation& explanation) {
    wire::Dict dict = {{"path", wire::FileName{explanation.path.text()}},
                       {"state", to_string(explanation.state)},
                       {"exists", explanation.exists}};
    put(dict, "problem", explanation.problem);
    if (!explanation.exists) return dict;
    put(dict, "type", explanation.type);
    dict.push_back({"size", explanation.size});
    dict.push_back({"modified", to_usec(explanation.modified)});
    return dict;
}

wire::Dict explanation_dict(const PathInSetNow& set) {
    wire::Dict dict = {{"set", set.set},
                       {"state", to_string(set.state)},
                       {"root", wire::FileName{set.place.root ? set.place.root->text() : ""}},
                       {"tracking", to_string(set.tracking.state)}};
    put(dict, "tracking-reason", printable(set.tracking.reason));
    if (set.place.excluded) dict.push_back({"excluded", rule_dict(*set.place.excluded)});
    if (set.place.taken_in) dict.push_back({"taken-in", rule_dict(*set.place.taken_in)});
    if (set.pending) {
        dict.push_back({"pending", wire::Dict{{"kind", set.pending->kind},
                                              {"since", to_usec(set.pending->since)},
                                              {"bytes", set.pending->bytes},
                                              {"held", set.pending->is_held}}});
    }
    if (set.pending_below != 0) {
        dict.push_back({"pending-below", set.pending_below});
        dict.push_back({"more-below", set.more_below});
    }
    if (set.version) {
        dict.push_back({"version", wire::Dict{{"revision", set.version->revision},
                                              {"number", set.version->number},
                                              {"time", to_usec(set.version->revision_time)},
                                              {"type", set.version->type},
                                              {"size", set.version->size},
                                              {"modified", to_usec(set.version->modified)}}});
    }
    put(dict, "version-problem", printable(set.version_problem));
    dict.push_back({"blocked-by", set.blocked_by});
    put(dict, "next-run", set.next_run);
    if (set.limit)
        dict.push_back({"limit", wire::Dict{{"limit", set.limit->name},
                                            {"text", set.limit->text},
                                            {"remedy", set.limit->remedy}}});
    put(dict, "question", printable(set.question));
    return dict;
}

}  // namespace backup
