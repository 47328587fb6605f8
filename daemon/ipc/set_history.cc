// Versions of a path, and finding names: answered from the index of history.
#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <systemd/sd-bus.h>

#include "daemon/ipc/live_facts.h"
#include "daemon/ipc/past_sight.h"
#include "daemon/ipc/set_object.h"
#include "daemon/jobs/tasks.h"
#include "daemon/policy/exclusion.h"
#include "daemon/policy/glob.h"
#include "daemon/policy/matcher.h"
#include "daemon/runtime/fs.h"

namespace backup {

namespace {

LineWish read_wish(wire::DictReader& options) {
    LineWish wish;
    if (auto host = options.text("host"); host && !host->empty()) wish.host = std::move(host);
    wish.any_set = options.boolean("any-set").value_or(false);
    return wish;
}

void put_time(JsonLine& line, const FileTime& time) {
    constexpr std::int64_t kMost = INT64_MAX / 1'000'000'000 - 1;
    const std::int64_t seconds = std::clamp(time.seconds, -kMost, kMost);
    line.signed_number("mtime_ns", seconds * 1'000'000'000 + time.nanoseconds);
}

void put_version(JsonLine& line, const Version& version) {
    line.text("type", std::string(1, version.kind)).number("size", version.size);
    put_time(line, version.modified);
    line.number("mode", version.mode).number("uid", version.uid).number("gid", version.gid);
}

void put_line_name(JsonLine& line, const LineName& name) {
    line.name("set", name.set).name("host", name.host);
}

// Why there may be newer revisions; where the repository is, is the administrators' business.
std::string behind_for(const AccessRule& rule, const std::string& why) {
    return rule.sees_all() ? printable(why) : "the repository cannot be asked now";
}

// ---- The live object beside its newest version

struct OnDisk {
    // protected unprotected deleted (not yet in a revision) missing excluded outside unknown
    const char* state = "unknown";
    std::optional<Version> live;
    std::string change;  // of unprotected: created content metadata kind
    std::string problem;
};

Version live_version(const struct statx& status) {
    Version version;
    version.kind = S_ISREG(status.stx_mode)    ? 'f'
                   : S_ISDIR(status.stx_mode)  ? 'd'
                   : S_ISLNK(status.stx_mode)  ? 'l'
                   : S_ISFIFO(status.stx_mode) ? 'p'
                   : S_ISSOCK(status.stx_mode) ? 's'
                   : S_ISCHR(status.stx_mode)  ? 'c'
                                               : 'b';
    version.size = S_ISREG(status.stx_mode) ? status.stx_size : 0;
    version.modified = {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec};
    version.mode = status.stx_mode & 07777u;
    version.uid = status.stx_uid;
    version.gid = status.stx_gid;
    return version;
}

// What differs without a look at the content; as explain does.
std::string change_on_disk(const Version& stored, const Version& live) {
    if (stored.kind != live.kind) return "kind";
    if (live.kind != 'd' && (stored.modified != live.modified || stored.size != live.size))
        return "content";
    if (stored.mode != live.mode || stored.uid != live.uid || stored.gid != live.gid)
        return "metadata";
    return {};
}

OnDisk look_at_disk(const BackupSet& set, const std::vector<Path>& own, const Path& path,
                    const PathVersion* newest) {
    OnDisk disk;
    Fs& fs = RealFs::instance();
    struct statx status {};
    const int error = -fs.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status);
    if (error > 0 && error != ENOENT && error != ENOTDIR) {
        disk.problem = Error::from_errno(error, "look at it").message();
        return disk;
    }
    if (error <= 0) disk.live = live_version(status);
    auto place = find_in_set(set, path, own, [&](const std::string& name) {
        return live_facts(fs, name, set.exclude.cachedir_tag);
    });
    const bool is_stored = newest != nullptr && !newest->deleted;
    if (!place.ok() || !place->root) {
        disk.state = "outside";
    } else if (!disk.live) {
        disk.state = is_stored ? "deleted" : "missing";
    } else if (place->excluded) {
        disk.state = "excluded";
    } else {
        disk.change = is_stored ? change_on_disk(newest->version, *disk.live) : "created";
        disk.state = disk.change.empty() ? "protected" : "unprotected";
    }
    return disk;
}

// ---- ListVersions

struct VersionList {
    HistoryKeeper& history;
    RepositoryPool& pool;
    BackupSet set;
    Caller caller;
    std::vector<Path> own;
    Path path;
    LineWish wish;

    struct Found {
        LineName line;
        std::vector<PathVersion> versions;  // empty: the line never had the path
        std::uint64_t last_number = 0;      // of the line
    };

    bool is_own(const LineName& line) const {
        return (line.set == set.id && line.host == host_of(set)) || is_adopted(line, set);
    }
    // A version is seen in the last revision that has it, and only there if not in the first: since
    // when it was there is not told then. That it was deleted is seen by whoever saw it and could
    // still look where it was. What was before that he did not see is no change to him.
    Result<> keep_seen(PastSight& sight, const LineName& line,
                       std::vector<PathVersion>& versions) const {
        const auto sees = [&](const RevisionId& id) -> Result<bool> {
            return TRY(sight.by_name(id, path)) == PastSight::Sight::open;
        };
        bool is_older_seen = false;
        for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
            bool open = false;
            if (version->deleted) {
                open = TRY(sees(version->first.id));
            } else if (auto last =
                           TRY(sight.newest_seen(line, version->first, version->last, sees))) {
                open = true;
                version->revisions -= std::min<std::uint64_t>(version->revisions - 1,
                                                              version->last.number - last->number);
                version->last = *last;
            }
            const bool seen = open && (!version->deleted || is_older_seen);
            if (!seen) version->revisions = 0;
            if (seen && !version->deleted) {
                if (TRY(sight.by_name(version->first.id, path)) != PastSight::Sight::open) {
                    version->first = version->last;
                    version->revisions = 1;
                    is_older_seen = false;
                }
                if (!is_older_seen) version->change = "created";
            }
            is_older_seen = seen;
        }
        std::erase_if(versions, [](const PathVersion& version) { return version.revisions == 0; });
        return {};
    }
    // As the newest revision of the set knows it; nothing: it does not.
    const PathVersion* newest_of(const std::vector<Found>& all) const {
        const Found* last = nullptr;
        for (const Found& one : all)
            if (is_own(one.line) && (last == nullptr || one.last_number > last->last_number))
                last = &one;
        return last == nullptr || last->versions.empty() ? nullptr : &last->versions.front();
    }

    Result<> operator()(LineWriter& lines) const {
        const AccessRule rule = rule_for(caller);
        PastSight sight(pool, set, rule);
        std::string behind;
        // Of the repository: the index may still know all that is asked.
        auto found = history.ask(
            set, wish, lines.stop(), [&](const AskedLines& asked) -> Result<std::vector<Found>> {
                behind = asked.behind;
                std::vector<Found> all;
                for (const LineName& name : asked.lines) {
                    auto versions = history.index().versions(name, path);
                    if (!versions.ok() && versions.error().code() != ErrorCode::no_such_path)
                        return std::move(versions).error();
                    Found one{name, {}};
                    if (versions.ok()) one.versions = std::move(*versions);
                    if (!rule.sees_all()) TRY(keep_seen(sight, name, one.versions));
                    if (auto status = TRY(history.index().status(name)))
                        one.last_number = status->last_number;
                    all.push_back(std::move(one));
                }
                return all;
            });
        if (!found.ok()) return std::move(found).error();
        const PathVersion* newest = newest_of(*found);
        const bool is_known =
            std::ranges::any_of(*found, [](const Found& one) { return !one.versions.empty(); });
        JsonLine line;
        if (!rule.sees_all() && !is_known)
            return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                         "no revision of set '" + set.id + "' has " + printable(path.text()));
        if (!rule.sees_all()) {
            line.text("disk", "unknown");
        } else if (!wish.host || *wish.host == host_of(set)) {
            const OnDisk disk = look_at_disk(set, own, path, newest);
            if (!is_known && !disk.live)
                return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                             "no revision of set '" + set.id + "' has " + printable(path.text()));
            line.text("disk", disk.state);
            if (!disk.change.empty()) line.text("change", disk.change);
            if (!disk.problem.empty()) line.text("problem", printable(disk.problem));
            if (disk.live) put_version(line, *disk.live);
        } else {
            if (!is_known)
                return Error(ErrorKind::not_found, ErrorCode::no_such_path,
                             "no revision of host " + printable(*wish.host) + " has " +
                                 printable(path.text()));
            line.text("disk", "outside");
        }
        if (!behind.empty()) line.text("behind", behind_for(rule, behind));
        TRY(lines.write(line));
        for (const Found& one : *found)
            for (const PathVersion& version : one.versions) {
                line.boolean("deleted", version.deleted);
                put_version(line, version.version);
                line.text("change", version.change)
                    .text("revision", version.first.id.hex())
                    .number("number", version.first.number)
                    .number("time", to_usec(version.first.time))
                    .text("last_revision", version.last.id.hex())
                    .number("last_number", version.last.number)
                    .number("last_time", to_usec(version.last.time))
                    .number("revisions", version.revisions);
                put_line_name(line, one.line);
                if (is_adopted(one.line, set)) line.boolean("adopted", true);
                TRY(lines.write(line));
            }
        return {};
    }
};

// ---- Find

std::string lower(std::string_view text) {
    std::string made(text);
    for (char& c : made)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return made;
}

// Names without a slash are matched alone, as a shell does; patterns with one against the path.
using Wants = decltype(HistoryQuery::wants);
Result<Wants> wants_of(const std::string& pattern, bool ignore_case) {
    const std::string text = ignore_case ? lower(pattern) : pattern;
    if (text.empty()) return invalid_argument("an empty pattern");
    if (text.find('/') == std::string::npos) {
        auto glob = std::make_shared<Glob>(TRY(Glob::compile(text)));
        if (ignore_case)
            return Wants([glob](std::string_view name, bool, const auto&) {
                return glob->matches(lower(name));
            });
        return Wants(
            [glob](std::string_view name, bool, const auto&) { return glob->matches(name); });
    }
    auto matcher = std::make_shared<Matcher>(TRY(Matcher::compile({text})));
    return Wants([matcher, ignore_case](std::string_view name, bool is_directory,
                                        const std::function<const std::string&()>& path) {
        if (!ignore_case) return matcher->excludes(path(), name, is_directory);
        return matcher->excludes(lower(path()), lower(name), is_directory);
    });
}

struct Finding {
    HistoryKeeper& history;
    RepositoryPool& pool;
    BackupSet set;
    Caller caller;
    HistoryQuery query;
    LineWish wish;
    std::uint64_t limit;

    Result<> operator()(LineWriter& lines) const {
        const AccessRule rule = rule_for(caller);
        PastSight sight(pool, set, rule);
        JsonLine line;
        std::uint64_t told = 0;
        const auto full = [&] { return limit != 0 && told >= limit; };
        const auto each_of = [&](const LineName& name) {
            return [&](const FoundPath& found) -> Result<> {
                if (full()) return Error(ErrorKind::cancelled, "enough");
                PathVersion version = found.version;
                bool deleted = found.deleted;
                if (!rule.sees_all()) {
                    const Path path = TRY(Path::parse(found.path));
                    const Path from = query.below.value_or(Path());
                    const auto seen = TRY(sight.newest_seen(
                        name, query.at ? found.there : version.first, found.there,
                        [&](const RevisionId& id) { return sight.by_listing(id, path, from); }));
                    if (!seen) return {};
                    // Neither that it went is told to whoever could not look any more, nor since
                    // when it was there to whoever could not look then.
                    const bool sees_end = !deleted || TRY(sight.by_name(found.gone.id, path)) ==
                                                          PastSight::Sight::open;
                    if (!sees_end && (query.deleted_only || query.since)) return {};
                    const bool sees_all_of_it =
                        TRY(sight.by_name(version.first.id, path)) == PastSight::Sight::open &&
                        TRY(sight.by_name(version.last.id, path)) == PastSight::Sight::open;
                    if (query.since && !deleted && !sees_all_of_it) return {};
                    if (!sees_all_of_it) {
                        version.last = *seen;
                        version.revisions = 1;
                    }
                    deleted = deleted && sees_end;
                }
                line.name("path", found.path).boolean("deleted", deleted);
                put_version(line, version.version);
                line.text("revision", version.last.id.hex())
                    .number("number", version.last.number)
                    .number("time", to_usec(version.last.time))
                    .number("revisions", version.revisions);
                put_line_name(line, name);
                ++told;
                return lines.write(line);
            };
        };
        bool said = false;
        return history.ask(set, wish, lines.stop(), [&](const AskedLines& asked) -> Result<> {
            if (!asked.behind.empty() && !std::exchange(said, true)) {
                line.text("behind", behind_for(rule, asked.behind));
                TRY(lines.write(line));
            }
            std::optional<Error> nowhere;
            bool anywhere = false;
            for (const LineName& name : asked.lines) {
                auto done = history.index().find(name, query, each_of(name), lines.stop());
                if (full()) return {};
                if (done.ok())
                    anywhere = true;
                else if (done.error().code() == ErrorCode::no_such_path)
                    nowhere = std::move(done).error();
                // What was told cannot be taken back.
                else if (done.error().kind() == ErrorKind::transient && told > 0)
                    return Error(ErrorKind::io, done.error().message());
                else
                    return done;
            }
            // Whoever could not have seen the place gets the same answer whether it was there.
            if (nowhere && !anywhere && rule.sees_all()) return *nowhere;
            return {};
        });
    }
};

}  // namespace

Result<> SetObject::list_versions(std::shared_ptr<Call> call) {
    std::string name = TRY(call->file_name());
    Path path = TRY(Path::parse(name));
    wire::DictReader options = TRY(call->options());
    LineWish wish = read_wish(options);
    TRY(options.finish());
    BackupSet set = *TRY(served_.service.find_set(id_));
    auto own = own_places(served_.service.policy(), served_.service.state_dir());
    UniqueFd stream = TRY(start_stream(
        served_, *call,
        VersionList{served_.service.history(), served_.service.pool(), std::move(set),
                    call->caller(), std::move(own), std::move(path), std::move(wish)}));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

Result<> SetObject::find(std::shared_ptr<Call> call) {
    std::string pattern = TRY(call->file_name());
    wire::DictReader options = TRY(call->options());
    Finding finding{served_.service.history(),
                    served_.service.pool(),
                    {},
                    call->caller(),
                    {},
                    read_wish(options),
                    0};
    // A path would be told once for each line; `host` asks for another.
    finding.wish.adopted = false;
    if (auto at = options.number("at")) finding.query.at = from_usec(*at + 1) - Duration(1);
    if (auto since = options.number("since")) finding.query.since = from_usec(*since);
    if (auto below = options.file_name("below")) finding.query.below = TRY(Path::parse(*below));
    finding.query.entries_only = options.boolean("entries").value_or(false);
    finding.query.deleted_only = options.boolean("deleted").value_or(false);
    finding.limit = options.number("limit").value_or(0);
    const bool ignore_case = options.boolean("ignore-case").value_or(false);
    TRY(options.finish());
    if (finding.query.at && finding.query.since)
        return invalid_argument("at and since exclude each other");
    if (finding.query.entries_only && !finding.query.below)
        return invalid_argument("entries: of which directory? below names it");
    finding.query.wants = TRY(wants_of(pattern, ignore_case));
    finding.set = *TRY(served_.service.find_set(id_));
    UniqueFd stream = TRY(start_stream(served_, *call, std::move(finding)));
    call->reply_with(
        [&](sd_bus_message* message) { return sd_bus_message_append(message, "h", stream.get()); });
    return {};
}

}  // namespace backup
