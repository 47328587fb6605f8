#include "daemon/jobs/guarded_run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>

#include <fcntl.h>

#include "common/log.h"
#include "common/unique_fd.h"
#include "daemon/jobs/lifecycle.h"
#include "daemon/restore/restore.h"

namespace backup {

namespace {

bool is_among(const Path& path, const std::vector<Path>& paths) {
    return std::ranges::find(paths, path) != paths.end();
}

// A directory without any entry; not one that cannot be read. One that holds directories says so by
// its links and is not listed.
bool is_empty_directory(Fs& fs, const Path& path, const struct statx& status) {
    if (status.stx_nlink > 2) return false;
    UniqueFd fd(std::max(
        -1, fs.open(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK)));
    if (!fd) return false;
    // By name: some file systems list neither "." nor "..".
    std::array<std::uint8_t, 4096> records;
    for (;;) {
        const ssize_t got = fs.list(fd.get(), records);
        if (got < 0) return false;
        if (got == 0) return true;
        for (std::size_t at = 0; at + 19 < static_cast<std::size_t>(got);) {
            const std::string_view name(reinterpret_cast<const char*>(&records[at + 19]));
            if (name != "." && name != "..") return false;
            at += static_cast<std::size_t>(records[at + 16]) | records[at + 17] << 8;
        }
    }
}

Error enough() {
    return Error(ErrorKind::cancelled, "enough");
}

}  // namespace

GuardedRun::GuardedRun(GuardBook& book, const Policy& policy, const BackupSet& set,
                       const OpenRepository& opened, Tracker* tracker, const Revision& parent,
                       const std::optional<Revision>& clean, JobContext& job, Timestamp now)
    : book_(book),
      policy_(policy),
      set_(set),
      opened_(opened),
      tracker_(tracker),
      parent_(parent),
      job_(job),
      facts_{job.id, now, clean ? clean->identity().hex() : std::string(),
             clean ? clean->tags.number : 0} {}

Error GuardedRun::held(const std::string& why) const {
    return Error(ErrorKind::conflict, ErrorCode::conflict,
                 why +
                     ": no revision was made, the last one has it all; if this is as it should "
                     "be: backupctl approve " +
                     set_.id + ", else bring it back and run again");
}

Result<> GuardedRun::look(const std::vector<Path>& absent) {
    absent_ = absent;
    const MissingPart part = TRY(missing_part());
    if (part.sentence.empty()) return {};
    is_missing_ = true;
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = miss(record, part, facts_);
        record = step.after;
    }));
    if (step.is_held) return held(step.message);
    if (step.is_asked) job_.message(LogLevel::warning, "part of the source is missing");
    return {};
}

// What of the source is not there. Holds: it is not known to be a file system that is away, or
// nothing else is left.
Result<MissingPart> GuardedRun::missing_part() {
    constexpr std::uint64_t kMostNamed = 3;
    Fs& fs = RealFs::instance();
    MissingPart part;
    const auto add = [&](const std::string& words) {
        if (part.places++ < kMostNamed) part.sentence += (part.places > 1 ? ", " : "") + words;
    };
    for (const Path& path : absent_)
        add("the file system at " + printable(path.text()) + " is missing");
    part.holds = !absent_.empty() && std::ranges::all_of(set_.paths, [&](const Path& path) {
        return is_among(path, absent_);
    });
    for (const Path& path : set_.paths) {
        if (is_among(path, absent_)) continue;
        struct statx status {};
        const int error = fs.status(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, status);
        const bool is_away = error == -ENOENT || error == -ENOTDIR;
        if (!is_away &&
            (error < 0 || !S_ISDIR(status.stx_mode) || !is_empty_directory(fs, path, status)))
            continue;
        // Not in the revision before it: nothing was lost.
        if (!TRY(was_full(path, is_away ? nullptr : &status))) continue;
        part.holds = true;
        add(printable(path.text()) + (is_away ? " is missing" : " is empty"));
    }
    if (part.places > kMostNamed)
        part.sentence += " and " + std::to_string(part.places - kMostNamed) + " more places";
    return part;
}

// Whether the parent revision has something at the path that is not there now. In a directory that
// is the same and empty now few files are nothing to ask about.
Result<bool> GuardedRun::was_full(const Path& path, const struct statx* now) {
    Repository& repository = *opened_.repository;
    TRY(repository.refresh_index(job_.stop));
    auto found = find_node(repository, parent_.snapshot().tree, path.text());
    if (!found.ok()) {
        if (found.error().code() == ErrorCode::no_such_path) return false;
        return std::move(found).error();
    }
    if (now == nullptr) return true;
    if (found->node.type != NodeType::dir) return false;
    const std::uint64_t least =
        found->node.inode != now->stx_ino ? 1 : std::max<std::uint64_t>(set_.guard.least / 5, 1);
    std::uint64_t files = 0;
    auto visited = visit_nodes(
        repository, *found, true,
        [&](const std::string&, const Node& node) -> Result<> {
            if (node.type != NodeType::file) return {};
            if (++files >= least) return enough();
            return {};
        },
        job_.stop);
    if (files >= least) return true;
    if (!visited.ok()) return std::move(visited).error();
    return false;
}

Result<> GuardedRun::look_for_others(const std::vector<Revision>& revisions,
                                     std::uint64_t last_number,
                                     const std::function<bool(Timestamp)>& was_running) {
    const SetOnHost own{set_.id, host_of(set_)};
    const std::uint64_t known = book_.of(set_.id).line_known;
    const Revision* stranger = nullptr;
    std::map<std::uint64_t, int> made;
    std::uint64_t most = 0;
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, own) || revision.tags.number <= known) continue;
        const std::uint64_t number = revision.tags.number;
        most = std::max(most, number);
        const bool is_twin = ++made[number] > 1;
        const bool is_unknown =
            last_number != 0 && number > last_number && !was_running(revision.snapshot().time);
        if (stranger == nullptr && (is_twin || is_unknown)) stranger = &revision;
    }
    if (stranger == nullptr) return {};
    const std::string sentence =
        "revision " + std::to_string(stranger->tags.number) + " of " +
        format_rfc3339_utc(stranger->snapshot().time) +
        " was not made by this machine, but under its name and that of this set";
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = meet(record, sentence, most, facts_);
        record = step.after;
    }));
    if (step.is_asked) job_.message(LogLevel::warning, step.message);
    return {};
}

Result<> GuardedRun::review(const ChangeSigns& signs) {
    // It may have gone while it was read.
    TRY(look(std::vector<Path>(absent_)));
    ChangeSigns seen = signs;
    // What the set does not ask for any more is not lost.
    for (const std::string& text : parent_.snapshot().paths) {
        auto path = Path::parse(text);
        if (path.ok() && is_among(*path, set_.paths)) continue;
        seen.removed = seen.renamed = 0;
    }
    GuardStep step;
    TRY(book_.change(set_.id, [&](GuardRecord& record) {
        step = backup::review(record, seen, set_.guard, facts_);
        record = step.after;
    }));
    if (step.is_held) return held(step.message);
    const GuardQuestion& change = step.after.change;
    if (!change.is_open()) return {};
    const bool is_pinned = TRY_DURING(pin(change), "pin the last clean revision");
    if (step.is_asked)
        job_.message(
            LogLevel::warning,
            step.message + ": " +
                (is_pinned ? "revision " + std::to_string(change.clean_number) + " is pinned"
                           : "there is no revision of the set from before") +
                "; answer with `backupctl approve " + set_.id + "` or `backupctl reject " +
                set_.id + "`");
    return {};
}

// Again with every run while it is asked about: an earlier one may have died in between. False:
// there is none to pin.
Result<bool> GuardedRun::pin(const GuardQuestion& question) {
    const SetOnHost on_host = line_of(set_);
    auto clean =
        clean_revision(all_revisions(TRY(opened_.repository->list_revisions())), on_host, question);
    if (!clean) return false;
    if (clean->tags.is_pinned) return true;
    TRY(book_.change(set_.id, [&](GuardRecord& record) { record.change.pins = true; }));
    // Rules may have forgotten it since this run began.
    TRY(revise_one(clean->id(), {.pin = true, .trash = std::optional<Timestamp>()}));
    return true;
}

Result<> GuardedRun::revise_one(const RevisionId& revision, const RevisionChange& change) {
    auto repository = policy_.repositories.find(set_.repository);
    if (repository == policy_.repositories.end())
        return Error(ErrorKind::not_found, ErrorCode::no_such_repository, "it is not configured");
    ReviseTask task{.set = set_,
                    .revisions = {revision},
                    .change = change,
                    .deleting = deleting_of(opened_, repository->second),
                    .tracker = tracker_};
    TRY(revise_revisions(*opened_.repository, task, job_.stop));
    return {};
}

void GuardedRun::committed(const RevisionId& made) {
    auto done = book_.change(set_.id, [&](GuardRecord& record) {
        record = backup::committed(record, is_missing_, facts_.now);
    });
    if (!done.ok()) log_warning(done.error().message());
    if (why_held(book_.of(set_.id)).empty()) return;
    // Rejected since it was reviewed: the clean one stays the newest.
    auto moved = revise_one(made, {.pin = std::nullopt, .trash = std::optional(facts_.now)});
    job_.message(moved.ok() ? LogLevel::warning : LogLevel::error,
                 moved.ok()
                     ? "what it changed was rejected meanwhile: this revision is in the trash"
                     : "what it changed was rejected meanwhile, and this revision cannot be "
                       "moved to the trash: " +
                           moved.error().message());
}

std::optional<Revision> clean_before(const std::vector<Revision>& newest_first,
                                     const SetOnHost& set, const Revision& parent) {
    if (!parent.is_trashed()) return parent;
    for (const Revision& revision : newest_first)
        if (belongs_to(revision, set) && !revision.is_trashed()) return revision;
    return std::nullopt;
}

std::vector<RevisionId> made_since(const std::vector<Revision>& newest_first, const SetOnHost& set,
                                   const Revision& clean) {
    std::vector<RevisionId> made;
    for (const Revision& revision : newest_first) {
        if (revision.id() == clean.id()) break;
        if (belongs_to(revision, set) && !revision.is_trashed() && !revision.tags.is_pinned &&
            revision.tags.number > clean.tags.number)
            made.push_back(revision.id());
    }
    return made;
}

std::optional<Revision> clean_revision(const std::vector<Revision>& revisions, const SetOnHost& set,
                                       const GuardQuestion& question) {
    for (const Revision& revision : revisions) {
        if (!belongs_to(revision, set)) continue;
        if (revision.identity().hex() == question.clean) return revision;
    }
    return std::nullopt;
}

}  // namespace backup
